"""Images that stay on disk: read when they are asked for, for training by worker processes.

The crop is taken on the host, where it spares most of the pixels the way to the device; the rest
of the augmentation runs there. What is read at a step follows from the seed and the step alone.

Axes: n images, b images a step, h w pixels of a file, s s pixels of a crop, c channels.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import flags
from PIL import Image

from contrastive_jax.data.batches import step_indices
from contrastive_jax.provenance import array_checksum

__all__ = ['StoredImages', 'checksum', 'in_memory', 'random_crop', 'stream_views', 'subset']

_RATIOS = (3 / 4, 4 / 3)
_CROP_TRIES = 10
_SAMPLE = 2000
# Batches that each worker keeps ready.
_READY = 2


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


def checksum(images: np.ndarray | StoredImages) -> str:
    """Tells one set of images from another; of those on disk by their names and sizes."""
    return images.checksum if isinstance(images, StoredImages) else array_checksum(images)


def in_memory(images: np.ndarray | StoredImages) -> np.ndarray:
    """The images themselves or, of those on disk, a fixed sample, for statistics of pixels."""
    if isinstance(images, np.ndarray):
        return images
    return images[np.random.default_rng(0).permutation(len(images))[:_SAMPLE]]


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


@dataclasses.dataclass(frozen=True)
class _Views:
    """Two crops of each image, in the order of training; what Grain reads from.

    Attributes:
      images: n of them.
      labels: `[n]`.
      seed: of order and crops.
      batch_size: b.
      steps: of the whole run.
      smallest: share of the area; None for the middle of the image, twice.
    """

    images: StoredImages
    labels: np.ndarray
    seed: int
    batch_size: int
    steps: int
    smallest: float | None

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __getitem__(self, position) -> tuple[np.ndarray, np.integer]:
        step, place = divmod(position, self.batch_size)
        index = step_indices(self.seed, step, len(self.images), self.batch_size)[place]
        label = self.labels[index]
        if self.smallest is None:
            return np.repeat(self.images[index : index + 1], 2, axis=0), label
        image = self.images.read(int(self.images.places[index]))
        rng = np.random.default_rng([self.seed, 3, position])
        crops = [
            random_crop(image, rng, smallest=self.smallest, size=self.images.size) for _ in range(2)
        ]
        return np.stack(crops), label


def stream_views(
    images: StoredImages,
    labels: np.ndarray | None,
    *,
    seed: int,
    batch_size: int,
    steps: range,
    smallest: float | None,
    workers: int,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The batches of some steps, read ahead by worker processes.

    Args:
      images: n of them.
      labels: `[n]`, or None.
      seed: of order and crops.
      batch_size: b.
      steps: first to last; a run that goes on at step t gets what it would have got.
      smallest: share of the area that a crop has at least; None for no random crop.
      workers: processes; 0 for threads of this one.

    Yields:
      `[b, 2, s, s, c]` uint8, both views of each image, and labels `[b]` or None.
    """
    # Imported here: runs from memory do without it, and it takes a second.
    import grain

    known = np.full(len(images), -1, np.int32) if labels is None else labels
    views = _Views(images, known, seed, batch_size, steps.stop, smallest)
    dataset = grain.MapDataset.source(views)[steps.start * batch_size :].batch(batch_size)
    threads = max(1, math.ceil((os.cpu_count() or 1) / max(workers, 1)))
    batches = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_READY * threads)
    )
    if workers:
        # Grain asks for a flag of its own, which a notebook or a test has not parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_READY)
        batches = batches.mp_prefetch(options)
    for crops, classes in batches:
        yield crops, None if labels is None else classes
