"""Training from disk: worker processes read images and crop them while others are trained on.

The crop is taken on the host, where it spares most of the pixels the way to the device; the rest
of the augmentation runs there. What is read at a step follows from the seed and the step alone.

Axes: n images, b images a step, s s pixels of a crop, c channels.
"""

import dataclasses
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterator

import numpy as np
from absl import flags

from contrastive_jax.data.batches import step_indices
from contrastive_jax.data.stored import StoredImages, random_crop

__all__ = ['stream_views']

# Batches that each worker keeps ready.
_READY = 2


@dataclasses.dataclass(frozen=True)
class _Views:
    """Two crops of each image, in the order of training; what Grain reads from.

    Attributes:
      images: n of them.
      labels: `[n]`.
      seed: of order and crops.
      batch_size: b.
      rows: those of each batch that are read here.
      steps: of the whole run.
      smallest: share of the area; None for the middle of the image, twice.
    """

    images: StoredImages
    labels: np.ndarray
    seed: int
    batch_size: int
    rows: range
    steps: int
    smallest: float | None

    def __len__(self) -> int:
        return self.steps * len(self.rows)

    def __getitem__(self, position) -> tuple[np.ndarray, np.integer]:
        step, place = divmod(position, len(self.rows))
        row = self.rows[place]
        index = step_indices(self.seed, step, len(self.images), self.batch_size)[row]
        label = self.labels[index]
        if self.smallest is None:
            return np.repeat(self.images[index : index + 1], 2, axis=0), label
        image = self.images.read(int(self.images.places[index]))
        # The place in the run, not in the part of it that this process reads.
        rng = np.random.default_rng([self.seed, 3, step * self.batch_size + row])
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
    rows: slice = slice(None),
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
      rows: those of each batch to read, where other processes read the rest.

    Yields:
      `[b, 2, s, s, c]` uint8, both views of each image, and labels `[b]` or None; of `rows` alone.
    """
    # Imported here: runs from memory do without it, and it takes a second.
    import grain

    known = np.full(len(images), -1, np.int32) if labels is None else labels
    own = range(batch_size)[rows]
    views = _Views(images, known, seed, batch_size, own, steps.stop, smallest)
    dataset = grain.MapDataset.source(views)[steps.start * len(own) :].batch(len(own))
    threads = max(1, math.ceil((os.cpu_count() or 1) / max(workers, 1)))
    batches = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_READY * threads)
    )
    if workers:
        _keep_signals_from_workers()
        # Grain asks for a flag of its own, which a notebook or a test has not parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_READY)
        batches = batches.mp_prefetch(options, worker_init_fn=_end_with_parent)
    for crops, classes in batches:
        yield crops, None if labels is None else classes


def _keep_signals_from_workers() -> None:
    """Lets workers read on after Ctrl-C or Slurm told all processes, until the run has saved.

    A process inherits the mask of the thread that starts it. The main thread keeps its signals.
    """
    # The tracker of shared memory changes the mask when it starts (Python 3.11), so it starts
    # first. It also warns of what a run leaves behind that ends at once, after cleaning it up.
    sys.warnoptions.append('ignore:resource_tracker:UserWarning')
    multiprocessing.resource_tracker.ensure_running()
    sys.warnoptions.pop()
    if threading.current_thread() is not threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _end_with_parent(worker: int, workers: int) -> None:
    """Ends a worker process when the run has been killed, which it would not notice by itself."""
    del worker, workers
    parent = multiprocessing.parent_process()

    def follow():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name='follow-parent').start()
