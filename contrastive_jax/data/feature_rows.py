"""Rows of features that need not fit into memory: memory maps, npz, Parquet, safetensors, shards.

Rows are read block by block, in order. Nothing holds all of them.

Axes: n samples, k features, c rows of a block.
"""

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import jax
import numpy as np

from contrastive_jax.data.feature_files import checked_rows
from contrastive_jax.errors import UserError

__all__ = ['Rows', 'Survey', 'array_rows', 'open_rows', 'survey']

# Bytes of a block while rows are surveyed.
_BLOCK_BYTES = 2**24


class _Part(NamedTuple):
    """One array of rows.

    Attributes:
      name: what messages call it.
      shape: n, k.
      dtype: type of its numbers.
      pieces: called with the first row, the row after the last, and the most rows of a piece.
      file: its file, or None.
      stamp: size and time of the last change of the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Callable[[int, int, int], Iterator[np.ndarray]]
    file: Path | None
    stamp: tuple[int, int] | None


class Rows:
    """Rows of features `[n, k]`, read in blocks.

    Attributes:
      source: words that say what the rows are.
      width: k.
      num_bytes: size of all rows as they are stored.
      whole: whether they are one array of NumPy.
    """

    def __init__(self, parts: list[_Part], source: str):
        """Checks that the parts are floats `[n, k]` of one k."""
        for part in parts:
            if len(part.shape) != 2 or not np.issubdtype(part.dtype, np.floating):
                raise UserError(
                    f'{part.name}: holds {part.dtype} {list(part.shape)}; need floats [n, k]'
                )
            if 0 in part.shape:
                raise UserError(
                    f'{part.name}: is empty, of shape {part.shape}; need [n, k] with at least one '
                    'row and one column'
                )
            if part.shape[1] != parts[0].shape[1]:
                raise UserError(
                    f'{part.name}: has {part.shape[1]} columns, and {parts[0].name} has '
                    f'{parts[0].shape[1]}; all shards need the same number'
                )
        self._parts, self.source = parts, source
        self.width = parts[0].shape[1]
        self.whole = len(parts) == 1 and (
            parts[0].file is None
            or parts[0].file.suffix.lower() not in ('.parquet', '.safetensors')
        )
        self.num_bytes = sum(math.prod(part.shape) * part.dtype.itemsize for part in parts)

    def __len__(self) -> int:
        """Number of rows."""
        return sum(part.shape[0] for part in self._parts)

    def pieces(self, size: int) -> Iterator[tuple[str, int, np.ndarray]]:
        """Name of the file, number of the first row in it, and at most `size` of its rows."""
        for part in self._parts:
            first = 0
            for piece in _read(part, 0, part.shape[0], size):
                yield part.name, first, piece
                first += len(piece)

    def blocks(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Blocks of `size` rows from `start` to `stop`; the last one may be smaller.

        Returns:
          `[c, k]` each, float16 or float32.
        """
        stop = len(self) if stop is None else stop
        held: list[np.ndarray] = []
        for piece in self._between(start, stop, size):
            missing = size - sum(map(len, held))
            held.append(piece[:missing])
            if len(piece) >= missing:
                yield np.concatenate(held) if len(held) > 1 else held[0]
                held = [piece[missing:]] if len(piece) > missing else []
        if held:
            yield np.concatenate(held) if len(held) > 1 else held[0]

    def _between(self, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        first = 0
        # Shards of different types are read as float32.
        half = all(part.dtype == np.float16 for part in self._parts)
        for part in self._parts:
            begin, end = max(start - first, 0), min(stop - first, part.shape[0])
            if begin < end:
                for piece in _read(part, begin, end, size):
                    yield np.ascontiguousarray(piece, np.float16 if half else np.float32)
            first += part.shape[0]

    def check_unchanged(self) -> None:
        """Raises UserError if a file has been changed since it was opened."""
        for part in self._parts:
            _check_stamp(part)


class Survey(NamedTuple):
    """What one pass over all rows finds.

    Attributes:
      origin: `[k]` the first row, float32.
      mean: `[k]` mean of the rows less the first one, float32.
      checksum: SHA-256 of the numbers as they are stored.
      chosen: `[c, k]` the rows asked for, float32.
    """

    origin: np.ndarray
    mean: np.ndarray
    checksum: str
    chosen: np.ndarray


def survey(
    rows: Rows, chosen: np.ndarray, advance: Callable[[int], object] = lambda count: None
) -> Survey:
    """Checks every row, and takes their mean, in one pass.

    Args:
      rows: to read.
      chosen: `[c]` indices of rows to keep, in any order.
      advance: called with the number of rows that were read.

    Raises:
      UserError: a row that is zero or not finite, with its file and its number there.
    """
    order = np.argsort(chosen, kind='stable')
    ascending = chosen[order]
    kept = np.empty((len(chosen), rows.width), np.float32)
    digest, total, origin, seen = hashlib.sha256(), np.zeros(rows.width), None, 0
    for name, first, piece in rows.pieces(max(1, _BLOCK_BYTES // (4 * rows.width))):
        digest.update(np.ascontiguousarray(piece).data)
        # Arithmetic on float16 is slow, and every float16 is a float32.
        piece = piece.astype(np.float32) if piece.dtype == np.float16 else piece
        block = checked_rows(piece, name, dtype=np.float32, direction=True, first=first)
        origin = block[0].copy() if origin is None else origin
        begin, end = np.searchsorted(ascending, [seen, seen + len(block)])
        kept[order[begin:end]] = block[ascending[begin:end] - seen]
        seen += len(block)
        block -= origin
        total += block.sum(axis=0, dtype=np.float64)
        advance(len(block))
    rows.check_unchanged()
    assert origin is not None  # there is at least one row
    return Survey(origin, (total / len(rows)).astype(np.float32), digest.hexdigest(), kept)


def array_rows(features: np.ndarray | jax.Array, source: str = 'rows of features') -> Rows:
    """Rows of an array or a memory map; nothing is copied."""
    array = np.asarray(features) if isinstance(features, jax.Array) else features
    return Rows([_array_part('features', array, None)], source)


def open_rows(path: str, flag: str = '--features') -> Rows:
    """Opens a file of features, or a folder of such files in the order of their names.

    Args:
      path: npy, npz (one array), parquet (one column of lists), safetensors (one tensor), or a
        folder of files of one of these kinds.
      flag: what named the path, for messages.

    Raises:
      UserError: a file that cannot be read or holds something else; shards of other widths.
    """
    where = f'{flag}={path}'
    place = Path(path)
    if not place.is_dir():
        return Rows([_open(place, where)], f'rows of {path}')
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in _OPEN)
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) != 1:
        raise UserError(
            f'{where}: a folder needs shards of one kind, {", ".join(_OPEN)}; it holds '
            f'{" and ".join(kinds) or "none"}'
        )
    return Rows([_open(file, str(file)) for file in files], f'rows of {len(files)} files in {path}')


def _read(part: _Part, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
    try:
        with _one_line(part.name):
            yield from part.pieces(start, stop, size)
    except UserError:
        # A file that cannot be read any more is one that somebody changed.
        _check_stamp(part)
        raise


def _check_stamp(part: _Part) -> None:
    if part.file is not None and _stamp(part.file) != part.stamp:
        raise UserError(
            f'{part.name}: has been changed while it was read; scores of two versions would be '
            'mixed. Score it again once nobody writes to it'
        )


@contextlib.contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Errors of the libraries that read files, as UserError."""
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # Damaged files raise errors of a dozen kinds.
        text = ' '.join(str(error).split())
        raise UserError(f'{where}: cannot be read ({type(error).__name__}: {text})') from error


def _open(file: Path, where: str) -> _Part:
    with _one_line(where):
        opened = _OPEN.get(file.suffix.lower(), _open_npy)(file, where)
    return opened


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _array_part(name: str, array: np.ndarray, file: Path | None) -> _Part:
    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        for first in range(start, stop, size):
            yield array[first : min(first + size, stop)]

    return _Part(
        name, array.shape, array.dtype, pieces, file, None if file is None else _stamp(file)
    )


def _open_npy(file: Path, where: str) -> _Part:
    if zipfile.is_zipfile(file):
        return _open_npz(file, where)
    return _stored_part(where, file, 0)


def _open_npz(file: Path, where: str) -> _Part:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) != 1:
            names = ', '.join(x.filename.removesuffix('.npy') for x in members) or 'none'
            raise UserError(f'{where}: holds {len(members)} arrays ({names}); need one, as .npy')
        if members[0].compress_type != zipfile.ZIP_STORED:
            # The unpacked file has no name, and vanishes with its map.
            with tempfile.TemporaryFile(prefix='contrastive_jax-') as unpacked:
                with archive.open(members[0]) as packed:
                    shutil.copyfileobj(packed, unpacked, 2**20)
                return _array_part(where, _mapped(unpacked, *_header(unpacked, 0)), file)
        offset = members[0].header_offset
    with file.open('rb') as stream:
        stream.seek(offset)
        header = stream.read(30)
    # The local header of zip: 30 bytes, the name, and extra fields, whose lengths end the 30.
    offset += 30 + int.from_bytes(header[26:28], 'little') + int.from_bytes(header[28:30], 'little')
    return _stored_part(where, file, offset)


def _header(stream: BinaryIO, offset: int) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether columns come first, type, and where the numbers of an npy file begin."""
    stream.seek(offset)
    version = np.lib.format.read_magic(stream)
    headers = np.lib.format
    read = headers.read_array_header_1_0 if version[0] == 1 else headers.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError('holds objects; need floats [n, k]')
    return shape, fortran, dtype, stream.tell()


def _mapped(
    stream: BinaryIO, shape: tuple[int, ...], fortran: bool, dtype: np.dtype, data: int
) -> np.ndarray:
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(stream, dtype, 'r', data, shape, 'F' if fortran else 'C')


def _stored_part(where: str, file: Path, offset: int) -> _Part:
    """Rows of an npy file that begins at `offset` of a file.

    They are read, not mapped: a map of a file that somebody cuts short would kill the process.
    """
    with file.open('rb') as stream:
        shape, fortran, dtype, data = _header(stream, offset)
        if fortran and len(shape) == 2:
            return _array_part(where, _mapped(stream, shape, fortran, dtype, data), file)
    row = math.prod(shape[1:])
    # What the header promises must be there.
    if file.stat().st_size < data + math.prod(shape) * dtype.itemsize:
        raise ValueError('the file is shorter than its header says')

    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        with file.open('rb') as stream:
            for first in range(start, stop, size):
                count = min(size, stop - first)
                stream.seek(data + first * row * dtype.itemsize)
                yield np.fromfile(stream, dtype, count * row).reshape(count, row)

    return _Part(where, shape, dtype, pieces, file, _stamp(file))


def _open_safetensors(file: Path, where: str) -> _Part:
    from safetensors import safe_open

    opened = safe_open(file, framework='numpy')
    names = list(opened.keys())
    if len(names) != 1:
        raise UserError(f'{where}: holds {len(names)} tensors ({", ".join(names)}); need one')
    tensor = opened.get_slice(names[0])
    kinds = {'F16': np.float16, 'F32': np.float32, 'F64': np.float64}
    kind = tensor.get_dtype()
    if kind not in kinds:
        raise UserError(f'{where}: holds {kind}; need floats of 16, 32 or 64 bits, [n, k]')

    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        for first in range(start, stop, size):
            yield tensor[first : min(first + size, stop)]

    shape = tuple(tensor.get_shape())
    return _Part(where, shape, np.dtype(kinds[kind]), pieces, file, _stamp(file))


def _open_parquet(file: Path, where: str) -> _Part:
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
        return _array_part(where, np.empty((0, 1), np.float32), file)

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
    return _Part(where, (n, width), one.dtype, pieces, file, _stamp(file))


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


_OPEN = {
    '.npy': _open_npy,
    '.npz': _open_npz,
    '.parquet': _open_parquet,
    '.safetensors': _open_safetensors,
}
