"""Rows of features that need not fit into memory: memory maps, npz, Parquet, safetensors, shards.

Rows are read block by block, in order. Nothing holds all of them.

Axes: n samples, k features, c rows of a block.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from contrastive_jax.data.file_tree import say_unread, warn_of_order
from contrastive_jax.data.row_files import OPENERS, open_part
from contrastive_jax.data.row_parts import Part, array_part, check_stamp, read_rows
from contrastive_jax.errors import UserError

__all__ = ['Rows', 'array_rows', 'check_shape', 'open_rows']

# Bytes of float32 that are read at a time for a checksum.
_PIECE_BYTES = 2**24


class Rows:
    """Rows of features `[n, k]`, read in blocks.

    Attributes:
      source: words that say what the rows are.
      width: k.
      num_bytes: size of all rows as they are stored.
      whole: whether they are one array of NumPy.
    """

    def __init__(self, parts: list[Part], source: str):
        """Checks that the parts are floats `[n, k]` of one k."""
        for part in parts:
            check_shape(part, part.name)
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
            for piece in read_rows(part, 0, part.shape[0], size):
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
                for piece in read_rows(part, begin, end, size):
                    yield np.ascontiguousarray(piece, np.float16 if half else np.float32)
            first += part.shape[0]

    def checksum(self) -> str:
        """SHA-256 of the bytes of all numbers, in the type in which they are stored."""
        digest = hashlib.sha256()
        for _, _, piece in self.pieces(max(1, _PIECE_BYTES // (4 * self.width))):
            digest.update(np.ascontiguousarray(piece).data)
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Raises UserError if a file has been changed since it was opened."""
        for part in self._parts:
            check_stamp(part)


def check_shape(features: Part | np.ndarray, where: str) -> None:
    """Raises UserError unless features are floats `[n, k]`, n and k at least 1."""
    if len(features.shape) != 2 or not np.issubdtype(features.dtype, np.floating):
        raise UserError(
            f'{where}: holds {features.dtype} {list(features.shape)}; need floats [n, k]'
            + _float_cure(features)
        )
    if 0 in features.shape:
        raise UserError(
            f'{where}: is empty, of shape {features.shape}; need [n, k] with at least one row and '
            'one column'
        )


def _float_cure(features: Part | np.ndarray) -> str:
    """What makes features of a usual other type into floats; empty for other types."""
    if len(features.shape) == 2 and np.issubdtype(features.dtype, np.integer):
        return ': take features.astype("float32")'
    # What NumPy reads from an npy file of bfloat16.
    return ': take features.astype("float32") before saving' if features.dtype == 'V2' else ''


def array_rows(features: np.ndarray | jax.Array, source: str = 'rows of features') -> Rows:
    """Rows of an array or a memory map; nothing is copied, unless it is bfloat16."""
    # NumPy computes nothing in bfloat16, which may be the type of its arrays all the same.
    if features.dtype == jnp.bfloat16:
        features = features.astype(jnp.float32)
    array = np.asarray(features) if isinstance(features, jax.Array) else features
    return Rows([array_part('features', array, None)], source)


def open_rows(path: str) -> Rows:
    """Opens a file of features, or a folder of such files in the order of their names.

    Args:
      path: npy, npz (one array), parquet (one column of lists, or numbered columns), safetensors
        (one tensor), or a folder of files of one of these kinds.

    Returns:
      The rows of all files. Their values are not checked yet.

    Raises:
      UserError: a file that cannot be read or holds something else; shards of other widths.
    """
    where = f'--features={path}'
    place = Path(path)
    try:
        files = list(place.iterdir()) if place.is_dir() else None
    except OSError as error:
        raise UserError(
            f'{where}: cannot be read ({error.strerror}); allow it, or give another path'
        ) from error
    if files is None:
        return Rows([open_part(place, where)], f'rows of {path}')
    # Hidden files are notes of a system, such as `._x.npy` of macOS.
    entries = sorted(file for file in files if not file.name.startswith('.'))
    files = [x for x in entries if x.suffix.lower() in OPENERS and not x.is_dir()]
    read = set(files)
    left_out = [x.name + '/' * x.is_dir() for x in entries if x not in read]
    if left_out:
        say_unread(tuple(left_out), where)
    warn_of_order([file.name for file in files], where)
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) != 1:
        raise UserError(
            f'{where}: a folder needs shards of one kind, {", ".join(OPENERS)}; it holds '
            f'{" and ".join(kinds) or "none"}'
        )
    return Rows(
        [open_part(file, str(file)) for file in files], f'rows of {len(files)} files in {path}'
    )
