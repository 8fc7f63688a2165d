"""Where images come from: every source ends as uint8 images and integer labels in memory.

Axes: n images, h w pixels, c channels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from contrastive_jax.errors import UserError

__all__ = ['Dataset', 'Split', 'load']

_PREPARE = (
    'python -c "import tensorflow_datasets as tfds; '
    "tfds.builder('{name}', data_dir='DIR').download_and_prepare(file_format='array_record')\""
)


class Split(NamedTuple):
    """Images and, where known, their classes.

    Attributes:
      images: `[n, h, w, c]` uint8.
      labels: `[n]` int32, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None


class Dataset(NamedTuple):
    """The training and the test split of one source, and the names of its classes."""

    train: Split
    test: Split
    classes: tuple[str, ...]


def load(config) -> Dataset:
    """Reads the data that `config.data` names.

    Args:
      config: the section `data` of a config: `name` and `data_dir`.

    Raises:
      UserError: unknown name, missing or unreadable files, images that are not uint8
        `[n, h, w, c]`, labels of another length.
    """
    loaders: dict[str, Callable] = {'digits': _digits, 'npz': _npz}
    dataset = loaders.get(config.name, _tfds)(config)
    for name, split in (('train', dataset.train), ('test', dataset.test)):
        _check(split, f'config.data.name={config.name!r}, {name} split')
    if dataset.train.images.shape[1:] != dataset.test.images.shape[1:]:
        raise UserError(
            f'config.data.name={config.name!r}: training images are '
            f'{dataset.train.images.shape[1:]}, test images {dataset.test.images.shape[1:]}; '
            'both need one shape'
        )
    return dataset


def _check(split: Split, where: str) -> None:
    images, labels = split
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f'{where}: images are {images.dtype} {list(images.shape)}; need uint8 [n, h, w, c] '
            'with c 1 or 3 and values 0 to 255'
        )
    if images.size == 0:
        raise UserError(f'{where}: holds no images')
    if labels is not None and labels.shape != (len(images),):
        raise UserError(
            f'{where}: labels are {list(labels.shape)} for {len(images)} images; need [n]'
        )


def _digits(config) -> Dataset:
    """The 1,797 digits of 8 x 8 pixels in scikit-learn, a fixed quarter of each class for tests."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=0, stratify=labels
    )
    return Dataset(
        Split(train_images, train_labels),
        Split(test_images, test_labels),
        tuple(str(digit) for digit in range(10)),
    )


def _npz(config) -> Dataset:
    """A file with `train_images`, `test_images` and, where known, their labels."""
    path = Path(config.data_dir or '')
    if not path.is_file():
        raise UserError(
            f'config.data.data_dir={config.data_dir!r}: no such file; with config.data.name=npz it '
            'is an npz file with train_images, train_labels, test_images, test_labels'
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:
        raise UserError(
            f'config.data.data_dir={config.data_dir!r}: cannot be read ({error}); '
            'write it with numpy.savez_compressed'
        ) from error
    missing = {'train_images', 'test_images'} - arrays.keys()
    if missing:
        raise UserError(
            f'config.data.data_dir={config.data_dir!r}: lacks {", ".join(sorted(missing))}; '
            f'holds {", ".join(sorted(arrays)) or "nothing"}'
        )
    train, test = (
        Split(arrays[f'{split}_images'], _integers(arrays.get(f'{split}_labels'), path, split))
        for split in ('train', 'test')
    )
    known = [
        split.labels for split in (train, test) if split.labels is not None and split.labels.size
    ]
    count = 1 + max((int(labels.max()) for labels in known), default=-1)
    return Dataset(train, test, tuple(str(label) for label in range(count)))


def _integers(labels: np.ndarray | None, path: Path, split: str) -> np.ndarray | None:
    if labels is None:
        return None
    if not np.issubdtype(labels.dtype, np.integer) or (labels.size and labels.min() < 0):
        raise UserError(
            f'config.data.data_dir={str(path)!r}: {split}_labels are {labels.dtype}; '
            'need integers from 0'
        )
    return labels.astype(np.int32)


def _tfds(config) -> Dataset:
    """An image classification data set of TFDS, without TensorFlow.

    With `data_dir` it is only read, so a wrong folder fails at once; without, TFDS looks in its own
    folder and downloads.
    """
    import tensorflow_datasets as tfds

    where = f'config.data.data_dir={config.data_dir!r}'
    prepare = _PREPARE.format(name=config.name)
    if config.data_dir is not None and not Path(config.data_dir).is_dir():
        raise UserError(f'{where}: no such folder; to prepare one, run {prepare}')
    try:
        builder = tfds.builder(config.name, data_dir=config.data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(
            f'config.data.name={config.name!r}: must be digits, npz, or the name of an image data '
            'set of TFDS such as cifar10'
        ) from error
    if not builder.is_prepared():
        if config.data_dir is not None:
            raise UserError(
                f'{where}: holds no prepared {config.name}; to prepare it, on a machine with '
                f'network, run {prepare}'
            )
        try:
            builder.download_and_prepare(file_format='array_record')
        except Exception as error:
            raise UserError(
                f'config.data.name={config.name!r}: cannot be downloaded ({error}); prepare it on '
                f'a machine with network, {prepare}, and give DIR as config.data.data_dir'
            ) from error
    try:
        splits = [_tfds_split(builder, split) for split in ('train', 'test')]
    except Exception as error:
        raise UserError(
            f'{where}: {config.name} cannot be read ({type(error).__name__}: {error}); '
            f'prepare it again with {prepare}'
        ) from error
    return Dataset(*splits, tuple(builder.info.features['label'].names))


def _tfds_split(builder, split: str) -> Split:
    source = builder.as_data_source(split)
    images, labels = [], []
    for start in tqdm(range(0, len(source), 1000), f'read {builder.name} {split}', disable=None):
        for example in source.__getitems__(range(start, min(start + 1000, len(source)))):
            images.append(example['image'])
            labels.append(example['label'])
    return Split(np.stack(images), np.asarray(labels, np.int32))
