"""Opens Parquet files whose rows are lists of floats, or floats in numbered columns.

Axes: n rows, c of a batch, k features.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from contrastive_jax.data.row_parts import Part, array_part, stamp_of
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import listed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['open_parquet']


def open_parquet(file: Path, where: str) -> Part:
    """Opens the one column of a file that holds lists of floats, or its numbered columns of floats.

    Numbered columns are those of `pandas.DataFrame(features)`: 0, 1, ... or f0, f1, ... in order.

    Args:
      file: the file.
      where: what messages call it.

    Returns:
      The rows `[n, k]`, with their type and a function that reads them in pieces.

    Raises:
      UserError: no such columns; rows of different lengths, or without some number.
    """
    import pyarrow.parquet as pq

    # Not mapped: a map of a file that somebody cuts short would kill the process.
    opened = pq.ParquetFile(file, memory_map=False)
    names, lists = _columns(opened.schema_arrow, where)
    ends = np.cumsum([opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)])
    n = opened.metadata.num_rows
    if n == 0:
        return array_part(where, np.empty((0, 1), np.float32), file)

    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        groups = [
            i for i, end in enumerate(ends) if end > start and (ends[i - 1] if i else 0) < stop
        ]
        first = int(ends[groups[0] - 1]) if groups[0] else 0
        for batch in opened.iter_batches(size, row_groups=groups, columns=names, use_threads=False):
            if lists:
                values = _matrix(batch.column(0), first, width, where)
            else:
                values = _beside(batch, first, where)
            piece = values[max(start - first, 0) : max(stop - first, 0)]
            first += len(values)
            if len(piece):
                yield piece

    width = None
    one = next(pieces(0, 1, 1))
    width = one.shape[1]
    return Part(where, (n, width), one.dtype, pieces, file, stamp_of(file))


def _columns(schema: 'pa.Schema', where: str) -> tuple[list[str], bool]:
    """The columns that hold features, and whether it is one column of lists.

    Raises:
      UserError: there are none, or it is not clear which.
    """
    import pyarrow as pa

    # The index of a pandas frame may be a column.
    index = (schema.pandas_metadata or {}).get('index_columns', [])
    # A range from another start is that of a shard.
    if any(not isinstance(x, dict) or x['step'] != 1 for x in index):
        logging.warning(
            '%s: holds an index of pandas; it is not used: rows are scored in the order of the '
            'file, and `index` of the scores counts these rows',
            where,
        )
    fields = {x.name: x.type for x in schema if x.name not in index}
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
    names = lists or _numbered(
        [name for name, kind in fields.items() if pa.types.is_floating(kind)]
    )
    if len(lists) > 1 or not names or (not lists and len(names) < len(fields)):
        others = {name: kind for name, kind in fields.items() if not pa.types.is_floating(kind)}
        held = listed(f'{name}: {kind}' for name, kind in {**others, **fields}.items())
        raise UserError(
            f'{where}: needs one column of lists of floats; it holds {held}; or give columns of '
            'floats alone, named 0, 1, ... as those of pandas.DataFrame(features)'
        )
    return names, bool(lists)


def _numbered(names: list[str]) -> list[str]:
    """Two names or more that end with consecutive numbers and begin alike; else none."""
    matches = [re.fullmatch(r'(.*?)(\d+)', name) for name in names]
    known = [(match[1], int(match[2])) for match in matches if match]
    if len(names) < 2 or len(known) < len(names):
        return []
    begin, first = known[0]
    return names if known == [(begin, first + i) for i in range(len(names))] else []


def _beside(batch, first: int, where: str) -> np.ndarray:
    """The columns of a batch beside each other, `[c, k]`."""
    missing = [np.flatnonzero(column.is_null()) for column in batch.columns]
    for name, rows in zip(batch.schema.names, missing, strict=True):
        if len(rows):
            raise UserError(f'{where}: row {first + rows[0]} holds no number in column {name}')
    return np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], axis=1)


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
