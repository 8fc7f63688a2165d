"""Which images a step sees: a pure function of (seed, step), so a resumed run sees the same images.

Images in memory are gathered by one NumPy index. Grain, which reads images from disk in
`streaming`, would take them one by one through a Python call each.

Axes: b images a step, n images in all.
"""

import functools
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from contrastive_jax.data.splits import Split
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'Batch',
    'epoch_order',
    'make_batch',
    'padded_batches',
    'prefetch',
    'split_over_devices',
    'step_indices',
]

Item = TypeVar('Item')


class Batch(NamedTuple):
    """Images of one step, as the devices of this process take them, or as a loss takes them.

    A mapped step takes arrays with a leading axis of devices. The loss of one device gets its part
    of them, without this axis, and there b counts the images of that device alone.

    Attributes:
      images: uint8 `[devices, b / devices, h, w, c]`, and in a loss `[b, h, w, c]`. If the host has
        taken two crops of each image, there is an axis of length 2 before h.
      labels: int32 `[devices, b / devices]`, and in a loss `[b]`; or None. Only statistics and the
        supervised loss use them.
    """

    images: np.ndarray
    labels: np.ndarray | None


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Permutation of `n` images, `[n]`, read-only; a pure function of seed and epoch."""
    order = host_rng(Use.EPOCH_ORDER, seed, epoch).permutation(n)
    order.flags.writeable = False
    return order


def step_indices(seed: int, step: int, n: int, batch_size: int) -> np.ndarray:
    """Indices of the images of one step, `[batch_size]`; an incomplete last batch is left out."""
    epoch, position = divmod(step, n // batch_size)
    return epoch_order(seed, epoch, n)[position * batch_size :][:batch_size]


def make_batch(split: Split, indices: np.ndarray, devices: int) -> Batch:
    """Gathers images and labels, device-major: device 0 gets the first ones."""

    labels = None if split.labels is None else split.labels[indices]
    return split_over_devices(Batch(split.images[indices], labels), devices)


def split_over_devices(batch: Batch, devices: int) -> Batch:
    """Splits the arrays of a batch along a new leading axis of devices, device-major."""

    def split(array):
        return None if array is None else array.reshape(devices, -1, *array.shape[1:])

    return Batch(*map(split, batch))


def padded_batches(
    images: np.ndarray | StoredImages, size: int, rows: range | None = None
) -> Iterator[tuple[np.ndarray, int]]:
    """Images in order, `size` at a time; the last batch is padded with its own first image.

    Args:
      images: `[n, h, w, c]` uint8.
      size: images in a batch.
      rows: the range of images to read; None for all images.

    Yields:
      `[size, h, w, c]` images, and how many of them are no padding.
    """
    rows = range(len(images)) if rows is None else rows
    for start in range(rows.start, rows.stop, size):
        part = images[start : min(start + size, rows.stop)]
        missing = size - len(part)
        yield np.concatenate([part, np.repeat(part[:1], missing, axis=0)]), len(part)


def prefetch(
    items: Iterable[Item], to_devices: Callable[[Item], Item], depth: int = 2
) -> Generator[Item, None, None]:
    """Prepares items ahead in a thread, so that the device does not wait for the host.

    Close the iterator unless it is read to its end: a thread that moves items to a device while
    Python ends aborts the process.

    Args:
      items: the iterable to read; it runs in the thread.
      to_devices: moves an item to the devices; it runs in the thread.
      depth: number of items kept ready.

    Yields:
      The items in their order, as `to_devices` returns them.

    Raises:
      BaseException: any error of `items` or `to_devices`, once the items before it have been read.
    """
    ready: queue.Queue = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def put(item) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        try:
            for item in items:
                if not put((to_devices(item), None)):
                    return
            put((end, None))
        except BaseException as error:
            put((end, error))
        finally:
            # The iterable may have processes of its own to end.
            if hasattr(items, 'close'):
                items.close()

    worker = threading.Thread(target=work, daemon=True, name='prefetch')
    worker.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        # A read that hangs must not keep the run from ending.
        worker.join(timeout=10)
