"""Features and labels of any encoder, read from files into memory.

Every command reads them here, so all commands check the same.

Axes: n samples, k features.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contrastive_jax.data.feature_rows import Rows, check_shape, open_rows
from contrastive_jax.data.sampling import representative
from contrastive_jax.data.splits import label_cure
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import read_arrays

__all__ = [
    'Features',
    'as_given',
    'checked_labels',
    'checked_rows',
    'numbered',
    'read_features',
    'read_labels',
    'read_splits',
]

_SPLITS = ('train_features', 'train_labels', 'test_features', 'test_labels')
# Numbers that are read and checked at a time.
_PIECE_NUMBERS = 2**24
# The square of a smaller number is zero, or loses its digits, in float32.
_LEAST = 1e-18


class Features(NamedTuple):
    """Features of some samples.

    Attributes:
      rows: `[n, k]` floats.
      labels: `[n]` indices into `classes`, or None.
      classes: the integers of the label file as texts, ascending.
    """

    rows: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]


def read_features(
    features: str | Rows, labels: str | None, *, dtype: type = np.float32, most: int | None = None
) -> Features:
    """Reads features and, where known, labels into memory; all rows are checked.

    Args:
      features: file or folder of shards, `[n, k]` floats, of any kind that `open_rows` reads, or
        what it returned; a row of zeros is refused, because it has no direction.
      labels: npy file, `[n]` integers, or None.
      dtype: type that the features are converted to.
      most: keep only this many rows, a random sample that holds each class in proportion; None
        keeps all.

    Returns:
      Rows `[n, k]` of the type `dtype`, int32 labels `[n]` or None, and the names of the classes.
      With `most`, n is at most this number, and the rows are in the order of the files.

    Raises:
      UserError: a file that cannot be read, or whose array is not as described.
    """
    stored = open_rows(features) if isinstance(features, str) else features
    n = len(stored)
    known, classes = (None, ()) if labels is None else read_labels(labels, n)
    kept = representative(n, n if most is None else most, known)
    rows = _room_for(len(kept), stored, dtype)
    start = 0
    for name, first, piece in stored.pieces(max(1, _PIECE_NUMBERS // stored.width)):
        checked = checked_rows(piece, name, dtype=dtype, direction=True, first=first)
        begin, end = np.searchsorted(kept, [start, start + len(piece)])
        rows[begin:end] = checked[kept[begin:end] - start]
        start += len(piece)
    return Features(rows, None if known is None else known[kept], classes)


def _room_for(n: int, stored: Rows, dtype: type) -> np.ndarray:
    try:
        return np.empty((n, stored.width), dtype)
    except MemoryError as error:
        raise UserError(
            f'--features: {n} {stored.source}, {stored.width} features each, do not fit into '
            'memory; give fewer rows, or contrastive_jax.score, which reads any number'
        ) from error


def read_labels(path: str, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads the labels of n samples: indices `[n]` into the classes, and the classes as texts.

    Raises:
      UserError: a file that cannot be read, that does not hold n integers, or that holds -1.
    """
    labels = checked_labels(_load_one(path, '--labels'), n, f'--labels={path}')
    classes, indices = numbered(labels)
    return indices, classes


def read_splits(path: str) -> tuple[Features, Features]:
    """Reads the training and the test split of one npz file.

    Args:
      path: npz file with `train_features`, `train_labels`, `test_features`, `test_labels`.

    Returns:
      The training and the test split: float32 rows of one width, and int32 labels, which are
      indices into the classes that both share.

    Raises:
      UserError: a file that cannot be read or lacks an array; arrays of a wrong type or shape.
    """
    where = f'--features={path}'
    loaded = _load(path, '--features')
    arrays = {} if isinstance(loaded, np.ndarray) else loaded
    missing = [name for name in _SPLITS if name not in arrays]
    if missing:
        raise UserError(
            f'{where}: lacks {", ".join(missing)}; write it with numpy.savez and the names '
            f'{", ".join(_SPLITS)}'
        )
    rows = [
        checked_rows(arrays[name], f'{where}, {name}', dtype=np.float32) for name in _SPLITS[::2]
    ]
    for name, own in zip(_SPLITS[::2], rows, strict=True):
        if np.abs(own).max() < _LEAST:
            raise UserError(
                f'{where}, {name}: holds no value of at least {_LEAST:.0e}, so that its squares '
                'vanish in float32; scale the features'
            )
    if rows[0].shape[1] != rows[1].shape[1]:
        raise UserError(
            f'{where}: train_features are {list(rows[0].shape)}, test_features '
            f'{list(rows[1].shape)}; both need the same number of columns'
        )
    train, test = (
        checked_labels(arrays[name], len(own), f'{where}, {name}')
        for name, own in zip(_SPLITS[1::2], rows, strict=True)
    )
    classes, train, test = numbered(train, test)
    if len(classes) == 1:
        raise UserError(
            f'{where}, train_labels: all labels are {classes[0]}; give at least two classes'
        )
    return Features(rows[0], train, classes), Features(rows[1], test, classes)


def checked_rows(
    rows: np.ndarray, where: str, *, dtype: type, direction: bool = False, first: int = 0
) -> np.ndarray:
    """Converts features to a native type, and refuses values that cannot be computed with.

    Args:
      rows: `[n, k]` of any floating type and byte order, n and k at least 1.
      where: file and array, for messages.
      dtype: `np.float32` or `np.float64`.
      direction: whether a row of zeros is refused.
      first: number of the first row in its file, for messages.

    Returns:
      `[n, k]` finite values whose squares can be summed.

    Raises:
      UserError: another shape or type; a bad value, with the number of its row.
    """
    check_shape(rows, where)
    name = np.dtype(dtype).name
    # The margin keeps the sum of a hundred million squares finite.
    largest = float(np.sqrt(np.finfo(dtype).max)) / 1e4
    # Compared in a type that holds every float, because 1e15 is infinite in float16.
    greatest = np.abs(rows).max(axis=1).astype(np.longdouble)
    _refuse(np.isnan(greatest), 'NaN', where, first)
    _refuse(np.isinf(greatest), 'infinity', where, first)
    _refuse(
        greatest > largest, f'values beyond {largest:.1e}, which overflow in {name}', where, first
    )
    converted: np.ndarray = rows.astype(dtype)
    if direction:
        _refuse(greatest == 0, 'only zeros, so that it has no direction', where, first)
        vanished = np.abs(converted).max(axis=1) == 0
        _refuse(vanished, f'only values that are zero in {name}; scale the features', where, first)
    return converted


def checked_labels(labels: np.ndarray, n: int, where: str) -> np.ndarray:
    """Labels in native byte order; there must be one integer, of any type, for each of n rows.

    Raises:
      UserError: another type or shape, or labels of -1; the message names it.
    """
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f'{where}: holds {labels.dtype} {list(labels.shape)}; need {n} integers, one for each '
            f'row of features{label_cure(labels, n)}'
        )
    if unknown := np.sum(labels == -1):
        raise UserError(
            f'{where}: {unknown} of {n} labels are -1, which means "unknown" here; remove these '
            'rows, or give no labels; if -1 is a class of yours, give it another number'
        )
    return labels.astype(labels.dtype.newbyteorder('='))


def numbered(*labels: np.ndarray) -> tuple:
    """Replaces labels by their rank among all labels that occur.

    Args:
      *labels: arrays of integers, each of any integer type.

    Returns:
      The labels as texts, and each array as int32 indices into them.
    """
    # As Python integers, because int64 and uint64 have no common integer type.
    classes = sorted({label for array in labels for label in np.unique(array).tolist()})
    ranks = {label: rank for rank, label in enumerate(classes)}
    numbers = []
    for array in labels:
        own, inverse = np.unique(array, return_inverse=True)
        numbers.append(np.array([ranks[label] for label in own.tolist()], np.int32)[inverse])
    return tuple(map(str, classes)), *numbers


def as_given(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The numbers that labels had before `numbered`.

    They stay indices where the name of some class is not a number of at most 18 digits. Folders
    with such names are numbers too.

    Args:
      labels: `[n]` indices into `classes`.
      classes: names of the classes; none if they are not known.

    Returns:
      `[n]` int64, the numbers; or `labels` themselves, if they stay indices.
    """
    if not classes or not all(re.fullmatch('0|-?[1-9][0-9]{0,17}', x) for x in classes):
        return labels
    # -1 is no class.
    return np.array([*map(int, classes), -1])[labels]


def _refuse(bad: np.ndarray, what: str, where: str, first: int) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise UserError(
            f'{where}: row {first + rows[0]} holds {what} ({len(rows)} of {len(bad)} rows); leave '
            'these rows out, or look at the encoder that made them'
        )


def _load_one(path: str, flag: str) -> np.ndarray:
    loaded = _load(path, flag)
    if isinstance(loaded, dict):
        if len(loaded) != 1:
            names = ', '.join(loaded) or 'none'
            raise UserError(
                f'{flag}={path}: holds {len(loaded)} arrays ({names}); need one array, '
                'in an npz or npy file'
            )
        (loaded,) = loaded.values()
    return loaded


def _load(path: str, flag: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except UserError as error:
        text = '; from a text file: numpy.save(FILE, numpy.loadtxt(TEXT, int))'
        raise UserError(
            f'{flag}={error}; write it with numpy.save or numpy.savez'
            f'{text if flag == "--labels" else ""}'
        ) from error
