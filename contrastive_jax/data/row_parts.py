"""One array of rows: of memory, or of a file that is read piece by piece.

Axes: n rows, k features.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastive_jax.errors import UserError

__all__ = ['Part', 'array_part', 'as_user_error', 'check_stamp', 'read_rows', 'stamp_of']


class Part(NamedTuple):
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


def array_part(name: str, array: np.ndarray, file: Path | None) -> Part:
    """Rows of an array or a memory map; `file` is what it maps, or None."""

    def pieces(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
        for first in range(start, stop, size):
            yield array[first : min(first + size, stop)]

    return Part(
        name, array.shape, array.dtype, pieces, file, None if file is None else stamp_of(file)
    )


def read_rows(part: Part, start: int, stop: int, size: int) -> Iterator[np.ndarray]:
    """Rows from `start` to `stop`, at most `size` at a time.

    Raises:
      UserError: the file cannot be read, or has been changed.
    """
    try:
        with as_user_error(part.name):
            yield from part.pieces(start, stop, size)
    except UserError:
        # A file that cannot be read any more is one that somebody changed.
        check_stamp(part)
        raise


def check_stamp(part: Part) -> None:
    """Raises UserError if the file has been changed since it was opened."""
    if part.file is not None and stamp_of(part.file) != part.stamp:
        raise UserError(
            f'{part.name}: has been changed while it was read; scores of two versions would be '
            'mixed. Score it again once nobody writes to it'
        )


def stamp_of(file: Path) -> tuple[int, int] | None:
    """Size of a file and time of its last change; None if it is gone."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def as_user_error(where: str) -> Iterator[None]:
    """Errors of the libraries that read files, as UserError.

    Raises:
      UserError: what was read raised any other error than UserError, which passes as it is.
    """
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise UserError(f'{where}: cannot be read (no such file)') from error
    except Exception as error:  # Damaged files raise errors of a dozen kinds.
        text = ' '.join(str(error).split())
        raise UserError(
            f'{where}: cannot be read ({type(error).__name__}: {text}); give npy, npz, Parquet or '
            'safetensors'
        ) from error
