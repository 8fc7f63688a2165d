"""What a data source gives: splits of uint8 images and integer labels.

Axes: n images, h w pixels, c channels.
"""

from typing import NamedTuple

import numpy as np

from contrastive_jax.data.stored import StoredImages

__all__ = ['Dataset', 'Split']


class Split(NamedTuple):
    """Images and, where known, their classes.

    Attributes:
      images: `[n, h, w, c]` uint8, in memory or left on disk.
      labels: `[n]` int32, or None.
      files: names of the n image files, relative to the data folder; None if images are not files.
    """

    images: np.ndarray | StoredImages
    labels: np.ndarray | None
    files: tuple[str, ...] | None = None


class Dataset(NamedTuple):
    """All splits of one data source.

    Attributes:
      train: images that the probes are trained on.
      test: images that the probes are tested on.
      classes: names of the classes.
      pretrain: images to pre-train on, in most data sets those of `train`.
      skipped: number of broken images that were left out.
      held_out: whether `test` was drawn from the training images.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    pretrain: Split
    skipped: int = 0
    held_out: bool = False
