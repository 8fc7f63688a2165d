"""Training from disk: worker processes read images and crop them while others are trained on.

The crop is taken on the host, where it spares most of the pixels the way to the device; the rest
of the augmentation runs there. What is read at a step follows from the seed and the step alone.

Axes: n images, b images a step, s s pixels of a crop, c channels.
"""

import contextlib
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

import numpy as np
from absl import flags

from contrastive_jax.data.batches import step_indices
from contrastive_jax.data.stored import StoredImages, random_crop
from contrastive_jax.errors import LoneError, UserError
from contrastive_jax.randomness import Use, host_rng

__all__ = ['check_workers', 'shared_memory_bytes', 'stream_views']

# Batches that each worker keeps ready.
_READY = 2
_SHARED_MEMORY = Path('/dev/shm')
_WAY_OUT = (
    'set config.data.workers=0, or enlarge /dev/shm (docker run --shm-size=SIZE; an emptyDir of '
    'medium Memory on Kubernetes)'
)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


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
        # The row in the whole batch, not in the part of it that this process reads.
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

    Raises:
      LoneError: a worker process has died.
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
        # Grain asks for a flag of its own, which a notebook or a test has not parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_READY)
        batches = batches.mp_prefetch(options, worker_init_fn=_end_with_parent)
        _start_tracker()
    iterator = iter(batches)
    try:
        while (batch := _next(iterator, workers)) is not None:
            # Copied, for shared memory is scarce, and JAX would keep it until the step is done.
            crops, classes = map(np.array, batch)
            del batch
            yield crops, None if labels is None else classes
    finally:
        # Left open, it would end its processes while Python ends, and leave shared memory behind.
        if hasattr(iterator, 'close'):
            iterator.close()


def shared_memory_bytes(images: StoredImages, rows: int, workers: int) -> int:
    """Shared memory that the batches of workers take, also on a busy machine.

    Each worker has `_READY` of them in its queue and holds one more, and as many wait in this
    process for their turn. One is being copied. Grain frees those that were used in a thread of its
    own, which falls behind by as many again where processes compete for the cores.

    Args:
      images: those that are read.
      rows: of each batch, read by this process.
      workers: processes that read.
    """
    batches = workers * 3 * (_READY + 1) + 2 if workers else 0
    return batches * rows * 2 * math.prod(images.shape[1:])


def check_workers(images: StoredImages, rows: int, workers: int) -> None:
    """Raises UserError if the batches that workers read ahead do not fit into shared memory.

    There a worker would die of SIGBUS, sooner or later.
    """
    if not workers or not _SHARED_MEMORY.is_dir():
        return
    wanted, free = (
        shared_memory_bytes(images, rows, workers),
        shutil.disk_usage(_SHARED_MEMORY).free,
    )
    if wanted > free:
        raise UserError(
            f'config.data.workers={workers}: the batches that they read ahead take up to '
            f'{wanted / 2**20:.0f} MiB of shared memory, and /dev/shm has {free / 2**20:.0f} MiB '
            f'free; {_WAY_OUT}'
        )


def _next(iterator: Iterator, workers: int):
    """The next batch, or None after the last; raises LoneError if a worker has died."""
    try:
        with _deaf_children():
            return next(iterator, None)
    except (RuntimeError, OSError) as error:
        reason = _death(error) if workers else None
        if reason is None:
            raise
        raise LoneError(
            f'config.data.workers={workers}: a process that reads images has died: {reason}; the '
            'run then goes on from its newest checkpoint'
        ) from error


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that start meanwhile never hear the signals that tell a run to stop.

    Ctrl-C and Slurm signal all processes of a run. It needs its workers until it has saved, and
    ends them itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Starts Python's process that frees the shared memory of workers that were killed."""
    # Its start lets signals in again, so that it must come before the start of the workers. It
    # takes over the filters of warnings: what it frees is nothing that a user could mend.
    silent = 'ignore:resource_tracker:UserWarning'
    sys.warnoptions.append(silent)
    with _deaf_children():
        multiprocessing.resource_tracker.ensure_running()
    sys.warnoptions.remove(silent)


def _death(error: Exception) -> str | None:
    """What a worker has died of, and what to do; None if the error is another one."""
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
    """Ends a worker process when the run has been killed, which it would not notice by itself."""
    del worker, workers
    parent = multiprocessing.parent_process()

    def follow():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name='follow-parent').start()
