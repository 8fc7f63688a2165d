"""Files that are written completely or not at all, and whose damage is noticed.

`SHA256SUMS` holds the checksums of the JSON files beside it, in the format of `sha256sum`: a JSON
file with one changed digit is still valid. Zip files such as npz have checksums of their own.
"""

import codecs
import contextlib
import glob
import hashlib
import json
import math
import os
import re
import secrets
import stat
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from contrastive_jax.errors import UserError

__all__ = [
    'SUMS',
    'listed',
    'plain',
    'printable',
    'read_arrays',
    'read_json',
    'read_text',
    'refuse_pipe',
    'write_arrays',
    'write_bytes',
    'write_json',
    'write_sealed_json',
    'write_whole',
]

SUMS = 'SHA256SUMS'
_TOKEN = '[0-9a-f]' * 8
_OLD_SECONDS = 24 * 3600
# Names that a line lists.
_MOST_NAMES = 5
# Control characters, line separators and surrogates.
_UNPRINTABLE = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_SUM_LINE = re.compile(r'([0-9a-f]{64})  ([^/\n]+)')


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file under another name, and renames it when all of it is on disk.

    Of several processes that write the same file at once, each leaves a whole one; the last stays.

    Args:
      path: name of the file; an earlier file stays until then.
      write: function that writes the content into an open file.

    Raises:
      OSError: the file cannot be written; an earlier file stays. Errors of `write` pass as they
        are.
    """
    # A name that no other writer has: runs of a grid share files.
    part = path.with_name(f'{path.name}.{secrets.token_hex(4)}.part')
    try:
        with part.open('xb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _remove_old_parts(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _remove_old_parts(path: Path) -> None:
    """Removes what writers of this file left that were killed more than a day ago."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f'{glob.escape(path.name)}.{_TOKEN}.part'):
            if time.time() - left.lstat().st_mtime > _OLD_SECONDS:
                left.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as `write_whole` does, with a content that is in memory."""
    write_whole(path, lambda file: file.write(content))


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file; numbers that are not finite become null."""
    write_bytes(path, _encoded(content))


def write_sealed_json(path: Path, content: dict) -> None:
    """Writes a JSON file, and its checksum into `SHA256SUMS`."""
    text = _encoded(content)
    sums = {**_sums(path.parent), path.name: hashlib.sha256(text).hexdigest()}
    lines = ''.join(f'{digest}  {name}\n' for name, digest in sorted(sums.items()))
    # The checksum comes first, because a file without a checksum is accepted.
    write_bytes(path.with_name(SUMS), lines.encode())
    write_bytes(path, text)


def read_json(path: Path) -> dict:
    """Reads an object from a JSON file.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file cannot be read, or does not match its checksum.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError('no JSON object')
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f'{path}: damaged ({error})') from error
    checksum = _sums(path.parent).get(path.name)
    if checksum not in (None, *_digests(data)):
        raise UserError(f'{path}: damaged, or changed by hand: its checksum in {SUMS} is another')
    return content


def _digests(data: bytes) -> set[str]:
    """SHA-256 of a text as it is, and without what an editor adds: a mark, and carriage returns."""
    plain_text = data.removeprefix(codecs.BOM_UTF8).replace(b'\r\n', b'\n')
    return {hashlib.sha256(text).hexdigest() for text in (data, plain_text)}


def read_arrays(path: str | Path) -> np.ndarray | dict[str, np.ndarray]:
    """Reads the array of an npy file, or all arrays of an npz file, without unpickling.

    Raises:
      UserError: the file cannot be read.
    """
    refuse_pipe(path, str(path))
    try:
        # Opened here, because NumPy leaves a damaged zip file open.
        with open(path, 'rb') as file:
            loaded = np.load(file, allow_pickle=False)
            _refuse_other_archive(loaded, path)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except UserError:
        raise
    except Exception as error:  # Damaged zip files raise errors of a dozen kinds.
        raise UserError(f'{path}: cannot be read ({_reason(error)})') from error


def refuse_pipe(path: str | Path, where: str) -> None:
    """Refuses what would be waited for, or has no end, before it is opened.

    Args:
      path: file to be read; that it is missing, or is a folder, its reader reports.
      where: what messages call it.

    Raises:
      UserError: a pipe, a socket or a device, or a link to one.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f'{where}: is a pipe, a socket or a device; copy its content into a file')


def _refuse_other_archive(loaded: Any, path: str | Path) -> None:
    """Refuses a zip file without arrays; NumPy gives the bytes of its members."""
    archive = getattr(loaded, 'zip', None)
    members = archive.namelist() if archive else []
    if members and not any(name.endswith('.npy') for name in members):
        raise UserError(
            f'{path}: is a zip archive of other files, such as {printable(members[0])}; unpack it'
        )


def _reason(error: Exception) -> str:
    """Why NumPy cannot read a file, without its advice to unpickle it."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return 'no such file'
    if 'pickled' in text:
        return 'it is no npy or npz file'
    if 'Object arrays' in text:
        return 'it holds Python objects, which are not read: save numbers'
    return f'{type(error).__name__}: {text}'


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or, with a byte order mark, UTF-16, without the mark.

    Bytes that are not UTF-8 become surrogates, as in file names.
    """
    refuse_pipe(path, str(path))
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode('utf-16', 'replace')
    return data.decode('utf-8-sig', 'surrogateescape')


def printable(text: object) -> str:
    r"""A name or message as one line that any UTF-8 file or terminal accepts.

    Bytes that are not text and control characters become escapes: `caf\xe9.png`.
    """
    return _UNPRINTABLE.sub(_escaped, str(text))


def listed(names: Iterable[str], end: str = '', *, most: int = _MOST_NAMES) -> str:
    """The first few names, and the number of the others."""
    names = [printable(name) + end for name in names]
    more = len(names) - most
    return ', '.join(names[:most]) + (f' and {more} more' if more > 0 else '')


def _escaped(match: re.Match) -> str:
    # Python represents a byte that is not text as the surrogate 0xdc00 + byte.
    code = ord(match[0])
    return f'\\x{code - 0xDC00:02x}' if 0xDC80 <= code <= 0xDCFF else ascii(match[0])[1:-1]


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz file; unlike in `numpy.savez`, an array may have the name `file`."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, 'w') as archive:
            for name, array in arrays.items():
                with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

    write_whole(path, write)


def plain(value):
    """A copy in which numbers that are not finite, which JSON lacks, are None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encoded(content: dict) -> bytes:
    return (json.dumps(plain(content), indent=2, allow_nan=False) + '\n').encode()


def _sums(folder: Path) -> dict[str, str]:
    """The checksums in the `SHA256SUMS` of a folder, by file name; empty without that file."""
    path = folder / SUMS
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})') from error
    matches = [_SUM_LINE.fullmatch(line) for line in lines]
    if not matches or None in matches:
        raise UserError(f'{path}: damaged; delete it if you trust the files beside it')
    return {match[2]: match[1] for match in matches if match}
