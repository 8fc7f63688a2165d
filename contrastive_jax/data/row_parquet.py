"""Opens Parquet files whose rows are lists of floats.

Axes: n rows, c of a batch, k features.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contrastive_jax.data.row_parts import Part, array_part, stamp_of
from contrastive_jax.errors import UserError

__all__ = ['open_parquet']


def open_parquet(file: Path, where: str) -> Part:
    """Opens the one column of a file that holds lists of floats.

    Args:
      file: the file.
      where: what messages call it.

    Raises:
      UserError: no such column, or more than one; rows of different lengths.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file, memory_map=True)
    fields = {x.name: x.type for x in opened.schema_arrow}
    lists = [
        name
        for name, kind in fields.items()
        if (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        )
        and pa.types.is_floating(kind.value_type)
    ]
    if len(lists) != 1:
        held = ', '.join(f'{name}: {kind}' for name, kind in fields.items())
        raise UserError(f'{where}: needs one column of lists of floats; it holds {held}')
    (name,) = lists
    ends = np.cumsum([opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)])
    n = opened.metadata.num_rows
    if n == 0:
        return array_part(where, np.empty((0, 1), np.float32), file)

    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        groups = [
            i for i, end in enumerate(ends) if end > start and (ends[i - 1] if i else 0) < stop
        ]
        first = int(ends[groups[0] - 1]) if groups[0] else 0
        for batch in opened.iter_batches(
            size, row_groups=groups, columns=[name], use_threads=False
        ):
            values = _matrix(batch.column(0), first, width, where)
            piece = values[max(start - first, 0) : max(stop - first, 0)]
            first += len(values)
            if len(piece):
                yield piece

    width = None
    one = next(pieces(0, 1, 1))
    width = one.shape[1]
    return Part(where, (n, width), one.dtype, pieces, file, stamp_of(file))


def _matrix(column, first: int, width: int | None, where: str) -> np.ndarray:
    """A batch of lists as rows, `[c, k]`."""
    import pyarrow.compute as pc

    widths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    width = widths[0] if width is None else width
    # A list that is missing has no width.
    wrong = np.flatnonzero(~((widths == width) & (widths > 0)))
    if len(wrong):
        raise UserError(
            f'{where}: row {first + wrong[0]} holds {widths[wrong[0]]} numbers, where row 0 holds '
            f'{width}; all rows need as many, and at least one'
        )
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(widths), int(width))
