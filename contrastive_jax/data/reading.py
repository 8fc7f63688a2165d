"""Reads stored images into memory.

Axes: n stored images, m of them readable, s s pixels, c channels.
"""

import math

import numpy as np

from contrastive_jax.data.image_files import BrokenImage
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import memory, progress

__all__ = ['CHUNK', 'read_all']

# Images that are read at a time.
CHUNK = 1000


def read_all(
    images: StoredImages, where: str, *, skip_broken: bool
) -> tuple[np.ndarray, np.ndarray, list[BrokenImage]]:
    """Reads all images.

    Args:
      images: n images on disk.
      where: the field that named them, for messages.
      skip_broken: leave out images that cannot be read.

    Returns:
      `[m, s, s, c]` pixels, the `[m]` indices of these images, and the errors of the other images.

    Raises:
      UserError: the images do not fit into memory, or one cannot be read.
    """
    _check_memory(images, where)
    pixels = np.empty(images.shape, np.uint8)
    readable: list[int] = []
    broken: list[BrokenImage] = []
    starts = range(0, len(images), CHUNK)
    for start in progress.track(starts, 'read images', unit='chunk', leave=True):
        chunk = range(start, min(start + CHUNK, len(images)))
        try:
            pixels[chunk.start : chunk.stop] = images[chunk.start : chunk.stop]
            readable += chunk
        except BrokenImage as error:
            if not skip_broken:
                # Every process reads all images, so none is alone with it.
                raise UserError(str(error)) from error
            chunk_readable, chunk_broken = _read_one_by_one(images, chunk, pixels)
            readable += chunk_readable
            broken += chunk_broken
    return (pixels[readable] if broken else pixels), np.array(readable, int), broken


def _read_one_by_one(
    images: StoredImages, indices: range, pixels: np.ndarray
) -> tuple[list[int], list[BrokenImage]]:
    """Fills the rows of `pixels`; returns the indices that were read, and the other errors."""
    readable, broken = [], []
    for index in indices:
        try:
            pixels[index] = images[index : index + 1][0]
            readable.append(index)
        except BrokenImage as error:
            broken.append(error)
    return readable, broken


def _check_memory(images: StoredImages, where: str) -> None:
    needed, free = math.prod(images.shape), memory.on_host()
    if needed > free:
        raise UserError(
            f'{where}: {len(images)} images of {images.size} pixels take {needed / 2**30:.1f} GiB '
            f'of memory, and {free / 2**30:.1f} are free; set config.data.stream=True or a smaller '
            'config.data.image_size'
        )
