"""Opens npy, npz and safetensors files of rows, which are read piece by piece.

Axes: n rows, k features.
"""

import contextlib
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from contrastive_jax.data.row_parquet import open_parquet
from contrastive_jax.data.row_parts import Part, array_part, as_user_error, stamp_of
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import printable, refuse_pipe

__all__ = ['OPENERS', 'open_part']


# How npy files begin.
_MAGIC = np.lib.format.MAGIC_PREFIX


def open_part(file: Path, where: str) -> Part:
    """Opens a file by its suffix; one of an unknown suffix as npy.

    Args:
      file: the file.
      where: what messages call it.

    Returns:
      The rows, with their shape, their type and a function that reads them in pieces.

    Raises:
      UserError: it cannot be read, or holds something else than one array.
    """
    refuse_pipe(file, where)
    with as_user_error(where):
        opened = OPENERS.get(file.suffix.lower(), _open_npy)(file, where)
    return opened


def _open_npy(file: Path, where: str) -> Part:
    if zipfile.is_zipfile(file) and not _is_of_torch(file):
        return _open_npz(file, where)
    with file.open('rb') as stream:
        if stream.read(len(_MAGIC)) not in (_MAGIC, b''):
            raise UserError(
                f'{where}: is none of npy, npz, Parquet and safetensors; from a PyTorch tensor: '
                'numpy.save(FILE, tensor.float().cpu().numpy()); from a text file: '
                'numpy.save(FILE, numpy.loadtxt(TEXT, delimiter=","))'
            )
        shape, _, dtype, data = _header(stream, 0)
    end = data + math.prod(shape) * dtype.itemsize
    more = file.stat().st_size - end
    if more > 0:
        raise UserError(
            f'{where}: {more} bytes follow its first array {list(shape)}, as after several calls '
            'of numpy.save on one open file; write one array, or a folder of one file for each'
        )
    return _stored_part(where, file, 0)


def _is_of_torch(file: Path) -> bool:
    """Whether torch.save has written a zip file."""
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith('/data.pkl') for name in archive.namelist())


def _open_npz(file: Path, where: str) -> Part:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if members and not any(member.filename.endswith('.npy') for member in members):
            raise UserError(
                f'{where}: is a zip archive of other files, such as '
                f'{printable(members[0].filename)}; unpack it, and give what is in it'
            )
        if len(members) != 1:
            names = ', '.join(x.filename.removesuffix('.npy') for x in members) or 'none'
            raise UserError(
                f'{where}: holds {len(members)} arrays ({names}); need one array, '
                'in an npz or npy file'
            )
        if members[0].compress_type != zipfile.ZIP_STORED:
            # The unpacked file has no name, and vanishes with its map.
            with tempfile.TemporaryFile(prefix='contrastive_jax-') as unpacked:
                with archive.open(members[0]) as packed, _named_room(where):
                    shutil.copyfileobj(packed, unpacked, 2**20)
                return array_part(where, _mapped(unpacked, *_header(unpacked, 0)), file)
        offset = members[0].header_offset
    with file.open('rb') as stream:
        stream.seek(offset)
        header = stream.read(30)
    # The local header of zip: 30 bytes, the name, and extra fields, whose lengths end the 30.
    offset += 30 + int.from_bytes(header[26:28], 'little') + int.from_bytes(header[28:30], 'little')
    return _stored_part(where, file, offset)


@contextlib.contextmanager
def _named_room(where: str) -> Iterator[None]:
    """Names the folder of temporary files where it has no room for an unpacked file."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{where}: cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}); set '
            'TMPDIR to a folder with more room, or write the features with numpy.save'
        ) from error


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


def _stored_part(where: str, file: Path, offset: int) -> Part:
    """Rows of an npy file that begins at `offset` of a file.

    They are read, not mapped: a map of a file that somebody cuts short would kill the process.
    """
    with file.open('rb') as stream:
        shape, fortran, dtype, data = _header(stream, offset)
        if fortran and len(shape) == 2:
            return array_part(where, _mapped(stream, shape, fortran, dtype, data), file)
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

    return Part(where, shape, dtype, pieces, file, stamp_of(file))


def _open_safetensors(file: Path, where: str) -> Part:
    from safetensors import safe_open

    opened = safe_open(file, framework='numpy')
    names = list(opened.keys())
    if len(names) != 1:
        raise UserError(f'{where}: holds {len(names)} tensors ({", ".join(names)}); need one')
    tensor = opened.get_slice(names[0])
    # NumPy has no bfloat16, and every one is a float32.
    kinds = {'BF16': np.float32, 'F16': np.float16, 'F32': np.float32, 'F64': np.float64}
    kind = tensor.get_dtype()
    if kind not in kinds:
        raise UserError(f'{where}: holds {kind}; need floats of 16, 32 or 64 bits, [n, k]')

    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        for first in range(start, stop, size):
            yield tensor[first : min(first + size, stop)].astype(kinds[kind], copy=False)

    shape = tuple(tensor.get_shape())
    return Part(where, shape, np.dtype(kinds[kind]), pieces, file, stamp_of(file))


OPENERS = {
    '.npy': _open_npy,
    '.npz': _open_npz,
    '.parquet': open_parquet,
    '.safetensors': _open_safetensors,
}
