"""Columns of scores as a Parquet file.

Axes: m rows.
"""

import json
from pathlib import Path

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import write_whole

__all__ = ['read_table', 'write_table']

# Rows of a row group, so that neither writer nor reader holds the text of all columns at once.
_GROUP = 2**17
_FACTS = b'contrastive_jax'


def write_table(
    path: Path, columns: dict[str, np.ndarray], checksum: str | None, landmarks: int | None
) -> None:
    """Writes the columns in order, in row groups; the rest goes into the metadata as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = json.dumps({'checksum': checksum, 'landmarks': landmarks}).encode()

    def group(start: int) -> pa.Table:
        rows = {name: _encoded(x[start : start + _GROUP]) for name, x in columns.items()}
        return pa.table(rows).replace_schema_metadata({_FACTS: facts})

    def write(file) -> None:
        first = group(0)
        with pq.ParquetWriter(file, first.schema) as writer:
            writer.write_table(first)
            for start in range(_GROUP, len(next(iter(columns.values()))), _GROUP):
                writer.write_table(group(start))

    write_whole(path, write)


def read_table(path: str) -> dict[str, np.ndarray]:
    """Columns of a Parquet file; `checksum` and `landmarks` as arrays without axes, where known.

    Raises:
      UserError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        text = ' '.join(str(error).split())
        raise UserError(f'{path}: cannot be read ({type(error).__name__}: {text})') from error
    arrays = {name: table.column(name).to_numpy() for name in table.column_names}
    facts = json.loads((table.schema.metadata or {}).get(_FACTS, b'{}'))
    known = {name: facts.get(name) for name in ('checksum', 'landmarks')}
    return {name: np.array(x) for name, x in known.items() if x is not None} | arrays


def _encoded(column: np.ndarray) -> np.ndarray | list[bytes]:
    """The column; texts that are not UTF-8, which Parquet does not hold, as bytes."""
    if column.dtype.kind != 'U':
        return column
    return [text.encode(errors='surrogateescape') for text in column.tolist()]
