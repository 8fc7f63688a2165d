"""What a data source gives: splits of uint8 images and integer labels.

Axes: n images, h w pixels, c channels.
"""

from typing import NamedTuple

import numpy as np

from contrastive_jax.data.stored import StoredImages, subset

__all__ = ['Dataset', 'Split', 'image_cure', 'label_cure']


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

    def take(self, rows: np.ndarray) -> 'Split':
        """Some of the images with their labels and names; images on disk are not read."""
        return Split(
            subset(self.images, rows),
            None if self.labels is None else self.labels[rows],
            None if self.files is None else tuple(self.files[row] for row in rows),
        )


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


def image_cure(images: np.ndarray) -> str:
    """What makes images of a usual other kind into uint8 `[n, h, w, c]`; empty if none is known."""
    if images.ndim == 3:
        return ': images[..., None] adds the channel of grey images'
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        return ': channels come last, so take images.transpose(0, 2, 3, 1)'
    numbers = images.dtype.kind in 'iuf' and images.dtype != np.uint8
    return _pixel_cure(images) if images.ndim == 4 and numbers and images.size else ''


def _pixel_cure(images: np.ndarray) -> str:
    """What makes numbers of another type into uint8, by their range."""
    floats = images.dtype.kind == 'f'
    low, high = images.min(), images.max()
    if floats and 0 <= low <= high <= 1:
        return ': of pixels from 0 to 1, take (255 * images).round().astype("uint8")'
    if 0 <= low <= high <= 255:
        rounded = 'images.round()' if floats else 'images'
        return f': of pixels from 0 to 255, take {rounded}.astype("uint8")'
    return ': take the images as they were before they were normalised' if floats else ''


def label_cure(labels: np.ndarray, n: int) -> str:
    """What makes labels of a usual other kind into integers `[n]`."""
    if labels.dtype.kind in 'USO':
        return ': numpy.unique(names, return_inverse=True)[1] numbers them'
    if labels.shape == (n, 1):
        return ': take labels[:, 0]'
    if labels.ndim == 2 and len(labels) == n:
        return ': of one-hot rows, take labels.argmax(1)'
    # A cast would cut fractions, and NaN would become a class.
    whole = labels.dtype.kind == 'b' or (labels.dtype.kind == 'f' and np.all(labels % 1 == 0))
    return ': take labels.astype(int)' if whole and labels.shape == (n,) else ''
