"""Features of encoders from elsewhere, as npy and npz files.

Axes: n samples, k features.
"""

from typing import NamedTuple

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.files import read_arrays

__all__ = ['Features', 'read_features', 'read_splits']

_SPLITS = ('train_features', 'train_labels', 'test_features', 'test_labels')


class Features(NamedTuple):
    """Rows of an encoder.

    Attributes:
      rows: `[n, k]` floats.
      labels: `[n]` indices into `classes`, or None.
      classes: names; of integers in a file their text, in order.
    """

    rows: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]


def read_features(features: str, labels: str | None) -> Features:
    """Reads two npy files, `[n, k]` floats and, where known, `[n]` integers.

    Raises:
      UserError: files that cannot be read or do not fit together.
    """
    rows = _check_rows(_load(features, '--features'), f'--features={features}')
    if labels is None:
        return Features(rows, None, ())
    known = _load(labels, '--labels')
    names, indices = np.unique(
        _check_labels(known, len(rows), f'--labels={labels}'), return_inverse=True
    )
    return Features(rows, indices, tuple(map(str, names.tolist())))


def read_splits(path: str) -> tuple[Features, Features]:
    """Reads the training and the test split of one npz file.

    Args:
      path: npz file with `train_features`, `train_labels`, `test_features`, `test_labels`.

    Raises:
      UserError: a file that cannot be read, lacks an array, or whose arrays do not fit.
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
    train, test = (
        (
            _check_rows(arrays[f'{split}_features'], f'{where}, {split}_features'),
            arrays[f'{split}_labels'],
        )
        for split in ('train', 'test')
    )
    if train[0].shape[1] != test[0].shape[1]:
        raise UserError(
            f'{where}: train_features are {list(train[0].shape)}, test_features '
            f'{list(test[0].shape)}; both need the same number of columns'
        )
    for split, (rows, labels) in (('train', train), ('test', test)):
        _check_labels(labels, len(rows), f'{where}, {split}_labels')
    names = np.unique(np.concatenate([train[1], test[1]]))
    return tuple(
        Features(rows, np.searchsorted(names, labels), tuple(map(str, names.tolist())))
        for rows, labels in (train, test)
    )


def _load(path: str, flag: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except UserError as error:
        raise UserError(f'{flag}={error}; write it with numpy.save or numpy.savez') from error


def _check_rows(rows: np.ndarray | dict, where: str) -> np.ndarray:
    if isinstance(rows, dict):
        raise UserError(f'{where}: holds several arrays, {", ".join(rows)}; need one, as .npy')
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
        raise UserError(f'{where}: holds {rows.dtype} {list(rows.shape)}; need floats [n, k]')
    return rows


def _check_labels(labels: np.ndarray | dict, n: int, where: str) -> np.ndarray:
    if isinstance(labels, dict):
        raise UserError(f'{where}: holds several arrays, {", ".join(labels)}; need one, as .npy')
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f'{where}: holds {labels.dtype} {list(labels.shape)}; need {n} integers, one for each '
            'row of features'
        )
    return labels
