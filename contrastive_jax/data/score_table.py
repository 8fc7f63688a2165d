"""Columns of scores as a Parquet file.

Axes: m rows.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['read_table', 'write_table']

# Rows of a row group, so that neither writer nor reader holds the text of all columns at once.
_GROUP = 2**17
_FACTS = b'contrastive_jax'


def write_table(
    path: Path,
    columns: dict[str, np.ndarray],
    checksum: str | None,
    landmarks: int | None,
    more: 'pa.Table | None' = None,
) -> None:
    """Writes the columns in order, in row groups; the rest goes into the metadata as JSON.

    Args:
      path: the file.
      columns: by name, each `[m]`.
      checksum: of the images that the rows belong to, if known.
      landmarks: number of landmarks, if the scores come from some.
      more: m rows of further columns, which may be nested, for other tools; nothing here reads the
        nested ones.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = json.dumps({'checksum': checksum, 'landmarks': landmarks}).encode()
    encoded = {name: _encoded(column) for name, column in columns.items()}

    def group(start: int) -> pa.Table:
        rows: dict[str, Any] = {name: x[start : start + _GROUP] for name, x in encoded.items()}
        if more is not None:
            part = more.slice(start, _GROUP)
            rows |= dict(zip(part.column_names, part.columns, strict=True))
        return pa.table(rows).replace_schema_metadata({_FACTS: facts})

    def write(file) -> None:
        first = group(0)
        with pq.ParquetWriter(file, first.schema) as writer:
            writer.write_table(first)
            for start in range(_GROUP, len(next(iter(columns.values()))), _GROUP):
                writer.write_table(group(start))

    write_whole(path, write)


def read_table(path: str) -> dict[str, np.ndarray]:
    """Columns of a Parquet file that are not nested.

    `checksum` and `landmarks` are arrays without axes, where they are known.

    Raises:
      UserError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        flat = [column.name for column in schema if not pa.types.is_nested(column.type)]
        table = pq.read_table(path, columns=flat)
    except (OSError, pa.ArrowException) as error:
        text = ' '.join(str(error).split())
        raise UserError(f'{path}: cannot be read ({type(error).__name__}: {text})') from error
    arrays = {name: table.column(name).to_numpy() for name in table.column_names}
    # The index of a pandas frame says which image each row is of: its number, or its file.
    named = (table.schema.pandas_metadata or {}).get('index_columns', [])
    if len(named) > 1 and not arrays.keys() & {'index', 'file'}:
        raise UserError(
            f'{path}: its index has {len(named)} levels, so it is not known which image a row is '
            'of; give a column file or index'
        )
    index = named[0] if len(named) == 1 else None
    if isinstance(index, dict) and (index['start'], index['step']) != (0, 1):
        numbers = np.arange(index['start'], index['stop'], index['step'])
        if len(numbers) == table.num_rows:
            arrays.setdefault('index', numbers)
    elif isinstance(index, str) and index in arrays:
        values = arrays[index]
        if np.issubdtype(values.dtype, np.integer):
            arrays.setdefault('index', arrays.pop(index))
        elif 'index' not in arrays and all(isinstance(name, str) for name in values):
            arrays.setdefault('file', arrays.pop(index))
    facts = json.loads((table.schema.metadata or {}).get(_FACTS, b'{}'))
    known = {name: facts.get(name) for name in ('checksum', 'landmarks')}
    return {name: np.array(x) for name, x in known.items() if x is not None} | arrays


def _encoded(column: np.ndarray) -> np.ndarray | list[bytes]:
    """The column; as bytes if one of its texts is not UTF-8, which texts of Parquet have to be."""
    if column.dtype.kind != 'U':
        return column
    texts = column.tolist()
    try:
        ''.join(texts).encode()
    except UnicodeEncodeError:
        return [text.encode(errors='surrogateescape') for text in texts]
    return column
