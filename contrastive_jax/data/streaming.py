"""Training from disk: worker processes read and crop images while the device trains on others.

Crops are taken on the host, so only the pixels of the crops go to the device, which does the rest
of the augmentation. The images and crops of a step follow from the seed and the step alone.

Axes: n images, b images a step, s s pixels of a crop, c channels.
"""

import dataclasses
import errno
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import flags

from contrastive_jax.data.batches import step_indices
from contrastive_jax.data.stored import StoredImages, random_crop
from contrastive_jax.errors import LoneError, UserError
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.runtime.cores import usable_cores
from contrastive_jax.runtime.preemption import blocked

__all__ = ['check_workers', 'shared_memory_bytes', 'stream_views']

# Number of batches that each worker keeps ready.
_READY = 2
_SHARED_MEMORY = Path('/dev/shm')
_WAY_OUT = (
    'set config.data.workers=0, or enlarge /dev/shm (docker run --shm-size=SIZE; an emptyDir of '
    'medium Memory on Kubernetes)'
)
# Ctrl-C and Slurm signal all processes of a run, but the run needs its workers until it has saved,
# and then ends them itself. So they start with these signals blocked.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)


@dataclasses.dataclass(frozen=True)
class _Views:
    """Data source for Grain: two crops of each image, in the order of training.

    Attributes:
      images: n images on disk.
      labels: `[n]`.
      seed: seed of the order and the crops.
      batch_size: b.
      rows: rows of each batch that this process reads.
      steps: number of steps of the run.
      smallest: smallest share of the area in a crop; None for the middle of the image, twice.
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
        step, own_row = divmod(position, len(self.rows))
        row = self.rows[own_row]
        index = step_indices(self.seed, step, len(self.images), self.batch_size)[row]
        label = self.labels[index]
        if self.smallest is None:
            return np.repeat(self.images[index : index + 1], 2, axis=0), label
        image = self.images.read(int(self.images.indices[index]))
        # The row of the global batch, so the crops do not depend on the number of processes.
        rng = host_rng(Use.CROPS, self.seed, step, row)
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
    """Yields the batches of a range of steps, which worker processes read ahead.

    Args:
      images: n images on disk.
      labels: `[n]`, or None.
      seed: seed of the order and the crops.
      batch_size: b.
      steps: range of steps; the batch of a step does not depend on where the range starts.
      smallest: smallest share of the area in a crop; None for the middle of the image, twice.
      workers: number of worker processes; 0 for threads of this process.
      rows: rows of each batch to read; other processes read the other rows.

    Yields:
      `[b, 2, s, s, c]` uint8, both views of each image, and labels `[b]` or None, of `rows` alone.

    Raises:
      LoneError: a worker process has died; or, in one of several processes, any error of reading.
    """
    # Imported here, because the import takes a second and runs from memory do not need it.
    import grain

    source_labels = np.full(len(images), -1, np.int32) if labels is None else labels
    own_rows = range(batch_size)[rows]
    views = _Views(images, source_labels, seed, batch_size, own_rows, steps.stop, smallest)
    dataset = grain.MapDataset.source(views)[steps.start * len(own_rows) :].batch(len(own_rows))
    iterator = _read_ahead(dataset, workers)
    try:
        while (batch := _next(iterator, workers)) is not None:
            # Copied, because shared memory is scarce and JAX would hold it until the step is done.
            crops, batch_labels = map(np.array, batch)
            del batch
            yield crops, None if labels is None else batch_labels
    finally:
        # An open iterator would end its processes while Python ends, and leak shared memory.
        if hasattr(iterator, 'close'):
            iterator.close()


def _read_ahead(dataset, workers: int) -> Iterator:
    """An iterator over the batches of a Grain dataset, read by threads or worker processes."""
    import grain

    threads = max(1, math.ceil(usable_cores() / max(workers, 1)))
    batches = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_READY * threads)
    )
    if workers:
        # Grain reads a flag of its own, and notebooks and tests have not parsed the flags.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_READY)
        batches = batches.mp_prefetch(options, worker_init_fn=_end_with_parent)
        _start_tracker()
    return iter(batches)


def shared_memory_bytes(images: StoredImages, rows: int, workers: int) -> int:
    """Most shared memory, in bytes, that the batches of the workers take.

    Each worker has `_READY` batches in its queue and holds one more. As many wait in this process,
    and one is being copied. Grain frees used batches in a thread of its own, which falls behind by
    as many again if processes compete for the cores.

    Args:
      images: images on disk.
      rows: number of rows of each batch that this process reads.
      workers: number of worker processes.

    Returns:
      The number of bytes; 0 without workers.
    """
    batches = workers * 3 * (_READY + 1) + 2 if workers else 0
    return batches * rows * 2 * math.prod(images.shape[1:])


def check_workers(images: StoredImages, rows: int, workers: int) -> None:
    """Raises UserError if the batches that workers read ahead do not fit into shared memory.

    A worker that runs out of shared memory dies of SIGBUS.
    """
    if not workers or not _SHARED_MEMORY.is_dir():
        return
    needed = shared_memory_bytes(images, rows, workers)
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if needed > free:
        raise UserError(
            f'config.data.workers={workers}: the batches that they read ahead take up to '
            f'{needed / 2**20:.0f} MiB of shared memory, and /dev/shm has {free / 2**20:.0f} MiB '
            f'free; {_WAY_OUT}'
        )


def _next(iterator: Iterator, workers: int):
    """The next batch, or None after the last; raises the errors of `stream_views`."""
    try:
        with blocked(_STOP_SIGNALS):
            return next(iterator, None)
    except Exception as error:  # Readers and their libraries raise errors of many kinds.
        reason = _death(error) if workers else None
        if reason is not None:
            raise LoneError(
                f'config.data.workers={workers}: a process that reads images has died: {reason}; '
                'the run then goes on from its newest checkpoint'
            ) from error
        if jax.process_count() == 1 or isinstance(error, LoneError):
            raise
        raise LoneError(f'{type(error).__name__}: {" ".join(str(error).split())}') from error


def _start_tracker() -> None:
    """Starts the process of Python that frees the shared memory of killed workers."""
    # Starting it unblocks signals, so it must start before the workers. It inherits the warning
    # filters; users can do nothing about its warnings.
    silent = 'ignore:resource_tracker:UserWarning'
    sys.warnoptions.append(silent)
    with blocked(_STOP_SIGNALS):
        multiprocessing.resource_tracker.ensure_running()
    sys.warnoptions.remove(silent)


def _death(error: Exception) -> str | None:
    """Why a worker has died, and what to do; None if the error has another cause."""
    match = re.search(r'terminated\s+unexpectedly with exit code (-?\d+)', str(error))
    number = int(match[1]) if match else 0
    if number == -signal.SIGBUS or getattr(error, 'errno', None) == errno.ENOSPC:
        return f'/dev/shm, in which it hands batches over, is full; {_WAY_OUT}'
    if number == -signal.SIGKILL:
        return (
            'it was killed (SIGKILL), most likely for lack of memory; set a smaller '
            'config.data.workers, or 0, or ask for more memory'
        )
    if number < 0:
        return f'it was ended by {signal.Signals(-number).name}; set config.data.workers=0'
    return f'it ended with status {number}, see above; set config.data.workers=0' if match else None


def _end_with_parent(worker: int, workers: int) -> None:
    """Makes a worker process end when its run is killed, which it would not notice otherwise."""
    del worker, workers
    parent = multiprocessing.parent_process()
    assert parent is not None  # A worker is a child.

    def follow():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name='follow-parent').start()
