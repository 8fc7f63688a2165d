"""Score files: a number for each training image, and the checksum of the images it belongs to.

Axes: n samples.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.files import read_arrays, write_whole

__all__ = ['ScoreFile', 'read_scores', 'write_scores']


class ScoreFile(NamedTuple):
    """Scores of all images of a training split, in its order.

    Attributes:
      columns: by name, each `[n]`.
      checksum: of the images scored, `provenance.array_checksum`; None where nobody said.
    """

    columns: dict[str, np.ndarray]
    checksum: str | None


def write_scores(path: Path, scores: ScoreFile) -> None:
    """Writes `scores.npz`, and beside it the same columns as `.csv`."""
    index = np.arange(len(next(iter(scores.columns.values()))))
    columns = {'index': index, **scores.columns}
    checksum = np.array(scores.checksum or '')
    write_whole(path, lambda file: np.savez(file, checksum=checksum, **columns))
    rows = zip(*(_texts(column) for column in columns.values()), strict=True)
    lines = [','.join(columns), *map(','.join, rows)]
    text = '\n'.join(lines) + '\n'
    write_whole(path.with_suffix('.csv'), lambda file: file.write(text.encode()))


def _texts(column: np.ndarray) -> list[str]:
    """The shortest text of each number that reads back as the same number."""
    return [str(value) for value in column.tolist()]


def read_scores(path: str, *, n: int, checksum: str, where: str) -> ScoreFile:
    """Reads the scores of the images at hand.

    Args:
      path: an npz file as `write_scores` leaves it, or with no more than `score`; or an npy file,
        `[n]`, which is taken as `score`.
      n: number of images.
      checksum: of the images; a file that says nothing of its images is believed.
      where: the field that named the file, for messages.

    Raises:
      UserError: a file that cannot be read, of other images, or with NaN.
    """
    try:
        loaded = read_arrays(path)
    except UserError as error:
        raise UserError(
            f'{where}={error}; give the scores.npz that '
            'python -m contrastive_jax.score writes, or an npy file of one number an image'
        ) from error
    arrays = {'score': loaded} if isinstance(loaded, np.ndarray) else loaded
    theirs = str(arrays.pop('checksum', '')) or None
    if 'score' not in arrays:
        raise UserError(
            f'{where}={path!r}: holds no array "score", only {", ".join(sorted(arrays)) or "none"}'
        )
    for name, column in arrays.items():
        if column.shape != (n,):
            raise UserError(
                f'{where}={path!r}: {name} is {list(column.shape)}, and there are {n} training '
                'images; score this data set again'
            )
        if np.issubdtype(column.dtype, np.floating) and np.isnan(column).any():
            raise UserError(f'{where}={path!r}: {name} holds NaN; score the data set again')
    if theirs not in (None, checksum):
        raise UserError(
            f'{where}={path!r}: belongs to other images (checksum {theirs[:12]}, here '
            f'{checksum[:12]}); score this data set again, mixed as config.mixed says'
        )
    return ScoreFile(arrays | {'score': arrays['score'].astype(np.float64)}, theirs)
