"""Sources whose images are arrays already: the digits of this package, and npz files.

Axes: n images, h w pixels, c channels.
"""

from importlib import resources
from pathlib import Path

import numpy as np

from contrastive_jax.data.splits import Dataset, Split, label_cure
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import read_arrays

__all__ = ['load_digits', 'load_npz']

# A larger label in an npz file is a mistake.
_LARGEST_LABEL = 2**31 - 1
_SPLITS = ('train', 'test')


def load_digits(config) -> Dataset:
    """The 1,797 handwritten digits of 8 x 8 pixels, a fixed quarter of each class for tests.

    They are the digits of scikit-learn as uint8, split by its `train_test_split` with seed 0. A
    copy lies in this package, because scikit-learn takes a second to import.

    Source: Alpaydin and Kaynak 1998, `digits.LICENSE.txt`.
    """
    del config
    with resources.files(__package__).joinpath('digits.npz').open('rb') as file:
        arrays = dict(np.load(file))
    train, test = (Split(arrays[f'{name}_images'], arrays[f'{name}_labels']) for name in _SPLITS)
    return Dataset(train, test, tuple(str(digit) for digit in range(10)), train)


def load_npz(config) -> Dataset:
    """A file with `train_images`, `test_images` and, where known, their labels.

    Args:
      config: the section `data` of a config; `data_dir` is the file.

    Returns:
      The images as the file holds them, which `sources.load` checks, and int32 labels from 0 in the
      order of their values, where they are known. The values, as texts, are the names of the
      classes.

    Raises:
      UserError: a file that cannot be read, lacks images, or has labels that are no integers.
    """
    path = Path(config.data_dir or '')
    arrays = _arrays(path, f'config.data.data_dir={config.data_dir!r}')
    labels = [_integers(arrays.get(f'{split}_labels'), path, split) for split in _SPLITS]
    numbers, classes = _numbered(labels)
    train, test = (
        Split(arrays[f'{split}_images'], number)
        for split, number in zip(_SPLITS, numbers, strict=True)
    )
    return Dataset(train, test, classes, train)


def _arrays(path: Path, where: str) -> dict[str, np.ndarray]:
    if path.name and path.is_dir():
        raise UserError(
            f'{where}: is a folder; give an npz file, or set config.data.name=folder for a folder '
            'of images'
        )
    if not path.is_file():
        raise UserError(
            f'{where}: {"no such file" if path.name else "missing"}; with '
            'config.data.name=npz it is an npz file with train_images, train_labels, test_images, '
            'test_labels'
        )
    try:
        loaded = read_arrays(path)
    except UserError as error:
        raise UserError(
            f'config.data.data_dir={error}; write it with numpy.savez_compressed'
        ) from error
    arrays = {} if isinstance(loaded, np.ndarray) else loaded
    missing = {'train_images', 'test_images'} - arrays.keys()
    if missing:
        raise UserError(
            f'{where}: lacks {", ".join(sorted(missing))}; '
            f'holds {", ".join(sorted(arrays)) or "nothing"}; numpy.savez(FILE, train_images=..., '
            'test_images=...) writes them, with train_labels and test_labels where they are known'
        )
    return arrays


def _integers(labels: np.ndarray | None, path: Path, split: str) -> np.ndarray | None:
    if labels is None:
        return None
    are_integers = np.issubdtype(labels.dtype, np.integer)
    if not are_integers or np.any(labels < 0) or np.any(labels > _LARGEST_LABEL):
        ends = f' from {labels.min()} to {labels.max()}' if are_integers else ''
        raise UserError(
            f'config.data.data_dir={str(path)!r}: {split}_labels are {labels.dtype}{ends}; '
            f'need integers from 0 to {_LARGEST_LABEL}'
            f'{"" if are_integers else label_cure(labels, len(np.atleast_1d(labels)))}'
        )
    return labels.astype(np.int64)


def _numbered(
    labels: list[np.ndarray | None],
) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Numbers the labels of all splits from 0 by their value; the values become the class names.

    Labels that are 0 to c - 1 already stay as they are.
    """
    known = [np.zeros(0, np.int64), *(part.ravel() for part in labels if part is not None)]
    values = np.unique(np.concatenate(known))
    numbers = [
        None if part is None else np.searchsorted(values, part).astype(np.int32) for part in labels
    ]
    return numbers, tuple(map(str, values.tolist()))
