"""Which images a step sees: a pure function of (seed, step), so that a resumed run sees the same.

Axes: b images a step, n images in all.
"""

import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from contrastive_jax.data.sources import Split
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'Batch',
    'epoch_order',
    'make_batch',
    'padded_batches',
    'prefetch',
    'spread',
    'step_indices',
]

Item = TypeVar('Item')


class Batch(NamedTuple):
    """Images of one step, split over the devices of this process.

    Attributes:
      images: `[devices, b / devices, h, w, c]` uint8; `[devices, b / devices, 2, h, w, c]` where
        the crops have been taken already.
      labels: `[devices, b / devices]` int32, or None; only statistics use them.
    """

    images: np.ndarray
    labels: np.ndarray | None


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Permutation of `n` images, `[n]`, a pure function of seed and epoch; not to be written to."""
    order = host_rng(Use.EPOCH_ORDER, seed, epoch).permutation(n)
    order.flags.writeable = False
    return order


def step_indices(seed: int, step: int, n: int, batch_size: int) -> np.ndarray:
    """Images of one step, `[batch_size]`; an epoch leaves out what does not fill a batch."""
    epoch, position = divmod(step, n // batch_size)
    return epoch_order(seed, epoch, n)[position * batch_size :][:batch_size]


def make_batch(split: Split, indices: np.ndarray, devices: int) -> Batch:
    """Gathers images and labels, device-major: device 0 gets the first of them."""

    labels = None if split.labels is None else split.labels[indices]
    return spread(Batch(split.images[indices], labels), devices)


def spread(batch: Batch, devices: int) -> Batch:
    """Gives the arrays of a batch their leading axis, device-major."""

    def place(array):
        return None if array is None else array.reshape(devices, -1, *array.shape[1:])

    return Batch(*map(place, batch))


def padded_batches(
    images: np.ndarray | StoredImages, size: int, rows: range | None = None
) -> Iterator[tuple[np.ndarray, int]]:
    """Images in order, `size` at a time; the last batch is padded with its own first image.

    Args:
      images: `[n, h, w, c]` uint8.
      size: images in a batch.
      rows: which of them, one after the other; None for all.

    Yields:
      `[size, h, w, c]` and how many of them are real.
    """
    rows = range(len(images)) if rows is None else rows
    for start in range(rows.start, rows.stop, size):
        part = images[start : min(start + size, rows.stop)]
        missing = size - len(part)
        yield np.concatenate([part, np.repeat(part[:1], missing, axis=0)]), len(part)


def prefetch(
    items: Iterable[Item], place: Callable[[Item], Item], depth: int = 2
) -> Iterator[Item]:
    """Prepares items ahead in a thread, so that the device never waits for the host.

    Close it where it is not read to its end: a thread that still moves items to a device while
    Python ends aborts the process.

    Args:
      items: what to prepare; runs in the thread.
      place: moves an item to the devices; runs in the thread.
      depth: items kept ready.
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
                if not put((place(item), None)):
                    return
            put((end, None))
        except BaseException as error:
            put((end, error))
        finally:
            # What reads them may have processes of its own to end.
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
        # Reading may hang, and must not keep a run from ending.
        worker.join(timeout=10)
