"""Images that stay on disk until a part of them is needed.

Axes: n images, s s pixels of a crop, c channels.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.runtime.cores import usable_cores

__all__ = ['StoredImages', 'array_checksum', 'checksum', 'in_memory', 'random_crop', 'subset']

_RATIOS = (3 / 4, 4 / 3)
_CROP_TRIES = 10
_SAMPLE = 2000


@dataclasses.dataclass(frozen=True)
class StoredImages:
    """Images on disk; indexing reads some of them, as if they were an array `[n, s, s, c]`.

    Attributes:
      read: returns the image of an index, all in one mode, RGB or L; threads and processes call it.
      indices: `[n]` what `read` is called with for each image.
      checksum: of all images on disk, the same for every subset.
      size: s. The shorter side is scaled to s, and the middle square is cut out.
      channels: c.
    """

    read: Callable[[int], Image.Image]
    indices: np.ndarray
    checksum: str
    size: int
    channels: int = 3

    def __len__(self) -> int:
        """Number of images."""
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape that the array would have."""
        return len(self), self.size, self.size, self.channels

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Reads some images, `[m, s, s, c]` uint8."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            images = list(pool.map(self._middle, self.indices[key].tolist()))
        return np.stack(images) if images else np.zeros((0, *self.shape[1:]), np.uint8)

    def take(self, indices: np.ndarray) -> 'StoredImages':
        """Some of the images, unread."""
        return dataclasses.replace(self, indices=self.indices[indices])

    def _middle(self, index: int) -> np.ndarray:
        image = self.read(index)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return _resized(image, (left, top, left + side, top + side), self.size)


def subset(images: np.ndarray | StoredImages, indices: np.ndarray) -> np.ndarray | StoredImages:
    """Some of the images; images on disk are not read."""
    return images.take(indices) if isinstance(images, StoredImages) else images[indices]


def array_checksum(array: np.ndarray) -> str:
    """SHA-256 of type, shape and content, as 64 hexadecimal digits."""
    digest = hashlib.sha256(f'{array.dtype.str} {array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def checksum(images: np.ndarray | StoredImages) -> str:
    """A text that differs between sets of images; of images on disk it covers names and sizes."""
    return images.checksum if isinstance(images, StoredImages) else array_checksum(images)


def in_memory(images: np.ndarray | StoredImages) -> np.ndarray:
    """Images for pixel statistics: all images in memory, or a fixed sample of images on disk."""
    if isinstance(images, np.ndarray):
        return images
    return images[host_rng(Use.PIXEL_SAMPLE, 0).permutation(len(images))[:_SAMPLE]]


def random_crop(
    image: Image.Image, rng: np.random.Generator, *, smallest: float, size: int
) -> np.ndarray:
    """Random resized crop with bicubic interpolation, drawn as `training.augmentation` draws it.

    The area is uniform in [smallest, 1], the ratio log-uniform in [3/4, 4/3]. The first of ten
    draws that fits is taken; if none fits, the crop is the image itself.

    Args:
      image: an image of any size.
      rng: generator of this view.
      smallest: smallest share of the area in a crop.
      size: s, the side of the result in pixels.

    Returns:
      `[s, s, c]` uint8.
    """
    width, height = image.size
    area = width * height * rng.uniform(smallest, 1, _CROP_TRIES)
    low, high = np.log(_RATIOS)
    ratio = np.exp(rng.uniform(low, high, _CROP_TRIES))
    x, y = rng.random(2)
    sizes = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=1)
    fits = np.flatnonzero(np.all(sizes <= (width, height), axis=1))
    w, h = sizes[fits[0]] if len(fits) else (width, height)
    left, top = x * (width - w), y * (height - h)
    return _resized(image, (left, top, left + w, top + h), size)


def _resized(image: Image.Image, box: tuple, size: int) -> np.ndarray:
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
    return pixels.reshape(size, size, -1)
