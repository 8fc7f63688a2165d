"""Loads the data that a config names: every source ends as uint8 images and integer labels.

Axes: n images, h w pixels, c channels.
"""

import numpy as np

from contrastive_jax.config.checks import check_data_section
from contrastive_jax.data.array_sources import load_digits, load_npz
from contrastive_jax.data.folder_source import load_folder
from contrastive_jax.data.splits import Dataset, Split, image_cure, label_cure
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.data.tfds_source import load_tfds
from contrastive_jax.errors import UserError

__all__ = ['Dataset', 'Split', 'load']

# Every other name is one of TFDS.
_LOADERS = {'digits': load_digits, 'npz': load_npz, 'folder': load_folder}


def load(config) -> Dataset:
    """Reads the data that `config.data` names.

    Args:
      config: the section `data` of a config.

    Returns:
      The splits: uint8 images `[n, h, w, c]` of one shape, and labels `[n]` or None.

    Raises:
      UserError: unknown name, missing or unreadable files, images that are not uint8
        `[n, h, w, c]`, labels of another length.
    """
    check_data_section(config)
    where = f'config.data.name={config.name!r}'
    dataset = _LOADERS.get(config.name, load_tfds)(config)
    for name in ('train', 'test', 'pretrain'):
        _check_split(getattr(dataset, name), f'{where}, {name} split')
    train_shape, test_shape = dataset.train.images.shape[1:], dataset.test.images.shape[1:]
    if train_shape != test_shape:
        raise UserError(
            f'{where}: training images are {train_shape}, test images {test_shape}; '
            'both need one shape'
        )
    return dataset


def _check_split(split: Split, where: str) -> None:
    images, labels, _ = split
    if isinstance(images, StoredImages):
        return
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f'{where}: images are {images.dtype} {list(images.shape)}; need uint8 [n, h, w, c] '
            f'with c 1 or 3 and values 0 to 255{image_cure(images)}'
        )
    if images.size == 0:
        raise UserError(f'{where}: holds no images')
    if labels is not None and labels.shape != (len(images),):
        raise UserError(
            f'{where}: labels are {list(labels.shape)} for {len(images)} images; need [n]'
            f'{label_cure(labels, len(images))}'
        )
