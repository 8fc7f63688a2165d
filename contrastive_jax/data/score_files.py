"""Score files: one number or more for each image of a training split.

Axes: n images of the split, m of them with scores.
"""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from contrastive_jax.data.sampling import rows_of
from contrastive_jax.data.score_table import read_table, write_table
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import (
    printable,
    read_arrays,
    read_text,
    refuse_pipe,
    write_arrays,
    write_whole,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['ScoreFile', 'read_indices', 'read_scores', 'write_scores']

# Rows that are written at a time, so that the text of all of them is never in memory.
_GROUP = 2**17
_DYNAMICS = 'dynamics_'
_REMEDY = 'score this data set again'
_LIST_REMEDY = 'name each image to leave out once, by its index in the training split'


class ScoreFile(NamedTuple):
    """Scores of images of a training split.

    Attributes:
      columns: numbers by name, each `[m]`.
      checksum: `stored.checksum` of all n images of the split; None if not known.
      index: `[m]` index of each image in the split; None for all images in order.
      files: `[m]` names of the image files, or None if images are not files.
      landmarks: number of landmarks that the scores come from; None if they are exact or it is not
        known.
    """

    columns: dict[str, np.ndarray]
    checksum: str | None
    # The field hides `tuple.index`, which nobody calls on these.
    index: np.ndarray | None = None  # type: ignore[assignment]
    files: tuple[str, ...] | None = None
    landmarks: int | None = None

    def kind(self) -> str | None:
        """'exact' or 'landmarks=R'; None of scores that no scoring of ours has written."""
        if self.landmarks is not None:
            return f'landmarks={self.landmarks}'
        return None if self.checksum is None else 'exact'

    def rows_of(self, images: np.ndarray) -> np.ndarray:
        """Rows of some images in the columns; -1 for an image without scores."""
        if self.index is None:
            return images
        return rows_of(self.index, images)


def write_scores(path: Path, scores: ScoreFile, more: 'pa.Table | None' = None) -> None:
    """Writes `scores.npz`, and beside it the same columns as `.csv` and `.parquet`.

    The npz file comes last, so that it shows that the others are complete.

    The columns are `index`, `file` if images are files, and those of `scores`. File names that are
    not UTF-8 keep their bytes. `more` columns, for other tools, go into `.parquet`.
    """
    index = scores.index
    if index is None:
        index = np.arange(len(next(iter(scores.columns.values()))))
    files = {} if scores.files is None else {'file': np.array(scores.files, dtype=str)}
    columns = {'index': index, **files, **scores.columns}
    write_table(path.with_suffix('.parquet'), columns, scores.checksum, scores.landmarks, more)
    write_whole(path.with_suffix('.csv'), lambda file: _write_csv(file, columns))
    facts = {'checksum': np.array(scores.checksum or '')}
    if scores.landmarks is not None:
        facts['landmarks'] = np.array(scores.landmarks)
    write_arrays(path, {**facts, **columns})


def _write_csv(file: BinaryIO, columns: Mapping[str, np.ndarray]) -> None:
    text = io.TextIOWrapper(file, 'utf-8', 'surrogateescape', newline='')
    csv.writer(text, lineterminator='\n').writerow(columns)
    # All texts in quotes, because `csv` does not quote a carriage return by itself.
    writer = csv.writer(text, lineterminator='\n', quoting=csv.QUOTE_NONNUMERIC)
    for start in range(0, len(next(iter(columns.values()))), _GROUP):
        group = [column[start : start + _GROUP] for column in columns.values()]
        # As Python floats, which print as the shortest text that reads back as the same number.
        writer.writerows(zip(*(column.tolist() for column in group), strict=True))
    # The file stays open for its owner.
    text.detach()


def read_scores(
    path: str,
    *,
    n: int,
    checksum: str,
    where: str,
    remedy: str = _REMEDY,
    files: tuple[str, ...] | None = None,
    dynamics: bool = False,
    samples: str = 'training images',
) -> ScoreFile:
    """Reads the scores of the images at hand.

    Args:
      path: an npz or parquet file of `write_scores`, or one of somebody else's with `score`, for
        all images or for those in `file` or `index`; or an npy file, `[n]`, which is read as
        `score`.
      n: number of images of the split.
      checksum: `stored.checksum` of these images; a file without a checksum is accepted.
      where: the field that named the file, for messages.
      remedy: what to do if scores that no command of ours has written are not of these images.
      files: names of the n image files; None if images are not files.
      dynamics: whether to read the columns of the dynamics too, NaN for images not looked at.
      samples: what the images of the split are, for messages.

    Returns:
      The columns `[m]` of numbers, with `score` as float64, the indices of the m images in the
      split, and the checksum and the number of landmarks that the file holds. Columns of texts are
      left out, and those of the dynamics unless they are asked for.

    Raises:
      UserError: a file that cannot be read or belongs to other images; a column of ours, or the
        `score` of somebody else, that does not hold one number, other than NaN, for each image.
    """
    where = f'{where}={path!r}'
    arrays = _read(path, where)
    # Of our files these are facts on all rows; a column of that name is somebody else's.
    theirs = None
    if 'checksum' in arrays and arrays['checksum'].ndim == 0:
        theirs = str(arrays.pop('checksum')) or None
    landmarks = None
    if 'landmarks' in arrays and arrays['landmarks'].ndim == 0:
        landmarks = int(arrays.pop('landmarks'))
    if theirs is None:
        arrays = _of_others(arrays, files, where)
    else:
        remedy = _REMEDY
    # Text columns, such as file names, are not needed. Columns of the dynamics are empty for images
    # that the monitor did not look at.
    arrays = {
        name: x
        for name, x in arrays.items()
        if name == 'score' or (_is_number(x) and (dynamics or not name.startswith(_DYNAMICS)))
    }
    if 'score' not in arrays:
        raise UserError(
            f'{where}: holds no array "score", only {", ".join(sorted(arrays)) or "none"}'
        )
    index = arrays.get('index')
    count = n if index is None else min(index.size, n)
    for name, column in arrays.items():
        if column.shape != (count,):
            those = samples if count == n else f'scored {samples.removeprefix("training ")}'
            raise UserError(
                f'{where}: {name} is {list(column.shape)}, and there are {count} {those}; {remedy}'
            )
    if index is not None:
        _check_index(index, n, where, remedy, samples)
    if theirs is not None and theirs != checksum:
        raise UserError(
            f'{where}: belongs to other images (checksum {theirs[:12]}, here {checksum[:12]}); '
            f'{_REMEDY}, mixed as config.mixed says'
        )
    columns = {
        name: _numbers(column, f'{where}: {name}', remedy, nan=name.startswith(_DYNAMICS))
        for name, column in arrays.items()
    }
    index = columns.pop('index', np.arange(n))
    columns['score'] = columns['score'].astype(np.float64)
    return ScoreFile(columns, theirs, index, landmarks=landmarks)


def _of_others(
    arrays: dict[str, np.ndarray], files: tuple[str, ...] | None, where: str
) -> dict[str, np.ndarray]:
    """What is used of a file that may be somebody else's.

    The names of image files say which images the rows are of, rather than an index, as in
    `read_indices`. Of the other columns those that hold a number for each row are used.
    """
    score, names = arrays.get('score'), arrays.get('file')
    if score is None:
        return arrays
    if files is not None and names is not None and any(listed := np.ravel(names).tolist()):
        if not all(isinstance(name, str | bytes | None) for name in listed):
            raise UserError(f'{where}: file holds {names.dtype}; need names of files, or no file')
        arrays = {**arrays, 'index': _indices_of(files, listed, where)}
    return {
        name: x
        for name, x in arrays.items()
        if name in ('score', 'index') or (x.shape == score.shape and _is_number(x) and _known(x))
    }


def read_indices(path: str, n: int, where: str, files: tuple[str, ...] | None = None) -> np.ndarray:
    """Reads a list of images: a CSV file, as the atlas saves it.

    The column `file` says which images they are, where there is one and images are files, because
    an image has another index after a file of the folder was added or removed. Otherwise the column
    `index` does.

    Args:
      path: the file.
      n: number of images of the split.
      where: the field that named the file, for messages.
      files: names of the n image files; None if images are not files.

    Returns:
      `[m]` int64 indices in [0, n), each once, in the order of the list.

    Raises:
      UserError: a file that cannot be read, lacks the column, or names images that do not exist.
    """
    where = f'{where}={path!r}'
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(Path(path)), newline='')))
    except (OSError, csv.Error) as error:
        raise UserError(f'{where}: cannot be read ({error}); give another file') from error
    if files is not None and any(row.get('file') for row in rows):
        return _indices_of(files, [row.get('file') for row in rows], where)
    try:
        index = np.array([int(row['index']) for row in rows], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        columns = ', '.join(printable(name) for name in (rows[0] if rows else ()) if name)
        raise UserError(
            f'{where}: needs a column "index" of whole numbers'
            + (f', or "file" for image files; it has {columns}' if columns else '')
        ) from error
    _check_index(index, n, where, _LIST_REMEDY)
    return index


def _indices_of(files: tuple[str, ...], listed: list[str | bytes | None], where: str) -> np.ndarray:
    """Indices of the files in a list."""
    numbers = {name: index for index, name in enumerate(files)}
    names = [printable(os.fsdecode(name or '')) for name in listed]
    unknown = [name for name in names if name not in numbers]
    if len(unknown) == len(names):
        raise UserError(
            f'{where}: none of its files, such as {names[0]!r}, is a training image, such as '
            f'{files[0]!r}; name them relative to config.data.data_dir, or give a column index in '
            'place of the column file'
        )
    if unknown:
        raise UserError(
            f'{where}: {len(unknown)} of {len(names)} files are no training images, first '
            f'{unknown[0]!r}; take them out of the list (of a folder without '
            'test/ and val/ a tenth is held out for tests)'
        )
    if len(set(names)) < len(names):
        raise UserError(f'{where}: names a file twice; leave one of the two out')
    return np.array([numbers[name] for name in names], np.int64)


def _read(path: str, where: str) -> dict[str, np.ndarray]:
    if path.lower().endswith('.csv'):
        raise UserError(f'{where}: a CSV file names images; give the scores.npz beside it')
    if Path(path).is_dir():
        raise UserError(f'{where}: is a folder; give the scores.npz in it')
    refuse_pipe(path, where)
    try:
        loaded = read_table(path) if path.lower().endswith('.parquet') else read_arrays(path)
    except UserError as error:
        raise UserError(
            f'{where.partition("=")[0]}={error}; give the scores.npz that '
            'python -m contrastive_jax.score writes, or an npy file of one number an image'
        ) from error
    return {'score': loaded} if isinstance(loaded, np.ndarray) else loaded


def _check_index(
    index: np.ndarray, n: int, where: str, remedy: str, samples: str = 'training images'
) -> None:
    if not np.issubdtype(index.dtype, np.integer):
        raise UserError(f'{where}: index holds {index.dtype}; need integers; {remedy}')
    if index.size == 0:
        raise UserError(f'{where}: holds no scores; {remedy}')
    if index.min() < 0 or index.max() >= n:
        raise UserError(
            f'{where}: index is from {index.min()} to {index.max()}, and there are {n} {samples}; '
            f'{remedy}'
        )
    if len(np.unique(index)) < len(index):
        raise UserError(f'{where}: index names an image twice; {remedy}')


def _is_number(column: np.ndarray) -> bool:
    kinds = (np.integer, np.floating, np.bool_)
    return any(np.issubdtype(column.dtype, kind) for kind in kinds)


def _known(column: np.ndarray) -> bool:
    return not (np.issubdtype(column.dtype, np.floating) and np.isnan(column).any())


def _numbers(column: np.ndarray, where: str, remedy: str, *, nan: bool) -> np.ndarray:
    """The column in native byte order."""
    if not _is_number(column):
        raise UserError(f'{where} holds {column.dtype}; need numbers; {remedy}')
    if not nan and not _known(column):
        first = int(np.flatnonzero(np.isnan(column))[0])
        raise UserError(f'{where} holds NaN, first in row {first}; {remedy}')
    return column.astype(column.dtype.newbyteorder('='))
