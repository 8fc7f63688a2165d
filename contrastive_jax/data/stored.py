"""Images that stay on disk and are read when they are asked for.

Axes: n images, s s pixels of a crop, c channels.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from contrastive_jax.randomness import Use, host_rng

__all__ = ['StoredImages', 'array_checksum', 'checksum', 'in_memory', 'random_crop', 'subset']

_RATIOS = (3 / 4, 4 / 3)
_CROP_TRIES = 10
_SAMPLE = 2000


@dataclasses.dataclass(frozen=True)
class StoredImages:
    """Images on disk that look like an array `[n, s, s, c]` to those who take a part of them.

    Attributes:
      read: the image of a place, in RGB or L, one mode for all; called by threads and processes.
      places: `[n]` which of them, in which order.
      checksum: of what is on disk, before any of it is taken.
      size: s, of the square that is cut from the middle after scaling the shorter side to s.
      channels: c.
    """

    read: Callable[[int], Image.Image]
    places: np.ndarray
    checksum: str
    size: int
    channels: int = 3

    def __len__(self) -> int:
        """Number of images."""
        return len(self.places)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape that the array would have."""
        return len(self), self.size, self.size, self.channels

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Reads some images, `[m, s, s, c]` uint8."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(self._middle, self.places[key].tolist()))
        return np.stack(images) if images else np.zeros((0, *self.shape[1:]), np.uint8)

    def take(self, indices: np.ndarray) -> 'StoredImages':
        """Some of the images, unread."""
        return dataclasses.replace(self, places=self.places[indices])

    def _middle(self, place: int) -> np.ndarray:
        image = self.read(place)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return _resized(image, (left, top, left + side, top + side), self.size)


def subset(images: np.ndarray | StoredImages, indices: np.ndarray) -> np.ndarray | StoredImages:
    """Some of the images; those on disk stay there."""
    return images.take(indices) if isinstance(images, StoredImages) else images[indices]


def array_checksum(array: np.ndarray) -> str:
    """SHA-256 of type, shape and content, as 64 hexadecimal digits."""
    digest = hashlib.sha256(f'{array.dtype.str} {array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def checksum(images: np.ndarray | StoredImages) -> str:
    """Tells one set of images from another; of those on disk by their names and sizes."""
    return images.checksum if isinstance(images, StoredImages) else array_checksum(images)


def in_memory(images: np.ndarray | StoredImages) -> np.ndarray:
    """The images themselves or, of those on disk, a fixed sample, for statistics of pixels."""
    if isinstance(images, np.ndarray):
        return images
    return images[host_rng(Use.PIXEL_SAMPLE, 0).permutation(len(images))[:_SAMPLE]]


def random_crop(
    image: Image.Image, rng: np.random.Generator, *, smallest: float, size: int
) -> np.ndarray:
    """Random resized crop with bicubic interpolation, the one that `training.augment` takes.

    Area uniform in [smallest, 1], ratio log-uniform in [3/4, 4/3]. Of ten tries the first that fits
    counts; where none does, the whole image.

    Args:
      image: of any size.
      rng: of this view.
      smallest: share of the area that a crop has at least.
      size: s.

    Returns:
      `[s, s, c]` uint8.
    """
    width, height = image.size
    area = width * height * rng.uniform(smallest, 1, _CROP_TRIES)
    ratio = np.exp(rng.uniform(*np.log(_RATIOS), _CROP_TRIES))
    x, y = rng.random(2)
    sizes = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=1)
    fits = np.flatnonzero(np.all(sizes <= (width, height), axis=1))
    w, h = sizes[fits[0]] if len(fits) else (width, height)
    left, top = x * (width - w), y * (height - h)
    return _resized(image, (left, top, left + w, top + h), size)


def _resized(image: Image.Image, box: tuple, size: int) -> np.ndarray:
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
    return pixels.reshape(size, size, -1)
