"""Pre-training from a config: batches in, steps, logs and checkpoints out."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

from contrastive_jax.data.batches import Batch, make_batch, prefetch, spread, step_indices
from contrastive_jax.data.sources import Split
from contrastive_jax.data.stored import in_memory
from contrastive_jax.data.streaming import stream_views
from contrastive_jax.errors import UserError
from contrastive_jax.models import pixel_moments
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.logs import MetricsLog, checksum_of_steps, logged_pace, logged_steps
from contrastive_jax.runtime import distributed, progress
from contrastive_jax.runtime.preemption import Preempted
from contrastive_jax.training import devices
from contrastive_jax.training.due import CheckpointClock, steps_between
from contrastive_jax.training.optimizer import count_steps
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.step import TrainState
from contrastive_jax.training.watch import Watch

__all__ = ['Pretrained', 'Recorder', 'check_batch', 'pretrain']

# Seconds between two times that metrics are fetched from the device and written.
_LOG_SECONDS = 1.0


class Pretrained(NamedTuple):
    """What pre-training leaves behind.

    Attributes:
      graphdef: static description of the model.
      initial: the state before the first step.
      final: the state after the last.
      pairs_per_second: images a second, each seen as a pair of views, compilation left out; None
        where nothing was left to train.
    """

    graphdef: nnx.GraphDef
    initial: TrainState
    final: TrainState
    pairs_per_second: float | None


def check_batch(batch_size: int, images: int, devices: int) -> None:
    """Raises UserError unless a batch fits the images and splits evenly over the devices."""
    if batch_size % devices:
        raise UserError(
            f'config.batch_size={batch_size}: must be divisible by the {devices} devices; '
            f'the nearest is {max(1, round(batch_size / devices)) * devices}'
        )
    if batch_size > images:
        raise UserError(
            f'config.batch_size={batch_size}: larger than the {images} training images; '
            f'choose at most {images // devices * devices}'
        )


def pretrain(
    config, split: Split, workdir: Path, told_to_stop: Callable[[int], bool] = lambda step: False
) -> Pretrained:
    """Trains until the last step, from the newest checkpoint in `workdir` if there is one.

    Args:
      config: the whole config, validated.
      split: the training images; labels, where known, serve for statistics alone.
      workdir: receives metrics and checkpoints.
      told_to_stop: of the steps taken; asked after each.

    Raises:
      Preempted: it was told to stop, and has saved.
      UserError: no checkpoint is intact, or loss or gradient are not finite.
    """
    n = len(split.images)
    check_batch(config.batch_size, n, jax.device_count())
    steps_per_epoch = n // config.batch_size
    total = count_steps(config, steps_per_epoch)
    graphdef, initial, step_function, schedule = set_up(
        config, pixel_moments(in_memory(split.images)), steps_per_epoch, devices.AXIS
    )
    mapped_step = devices.map_over_devices(step_function)
    with closing(Checkpoints(workdir)) as checkpoints:
        state = checkpoints.restore(
            devices.replicate(initial), lambda step: checksum_of_steps(workdir, step)
        )
        start = int(state.step)
        distributed.by_writer(lambda: _check_log(config, workdir, start))
        _say_start(config, workdir, start, total, n)
        batches = _batches(config, split, range(start, total))
        log = MetricsLog(workdir, start) if distributed.is_writer() else None
        watch = Watch(config, n, workdir)
        clock = CheckpointClock(config.checkpoint_every, config.checkpoint_minutes)
        with (
            closing(Recorder(log, config.batch_size, steps_per_epoch, schedule)) as recorder,
            closing(prefetch(batches, devices.split)) as prefetched,
            progress.track(
                prefetched, 'train', total=total, initial=start, unit='step', leave=True
            ) as bar,
            distributed.or_leave(),
        ):
            for step, batch in enumerate(bar, start + 1):
                state, metrics = mapped_step(state, batch)
                recorder.add(step, metrics, bar)
                watch.add(step, metrics)
                stopping = told_to_stop(step)
                if stopping or clock.due(step) or step == total:
                    recorder.write_all()
                    watch.check_all()
                    checkpoints.save(state, log.checksum() if log else '')
                if stopping:
                    raise Preempted(f'{workdir}: told to stop; saved at step {step} of {total}')
    return Pretrained(graphdef, initial, state, recorder.pairs_per_second)


def _check_log(config, workdir: Path, start: int) -> None:
    """Raises UserError if a run would begin anew although it must have had a checkpoint."""
    logged, pace = logged_steps(workdir), logged_pace(workdir)
    between = steps_between(
        config.checkpoint_every, config.checkpoint_minutes, config.batch_size, pace
    )
    # A checkpoint may be in the making while the steps up to the next are logged.
    if not start and logged > 2 * between:
        raise UserError(
            f'{workdir}: {logged} steps are logged, and there is no checkpoint; restore the folder '
            'from a copy, or begin again in another --workdir'
        )


def _say_start(config, workdir: Path, start: int, total: int, images: int) -> None:
    """Prints what is trained on how many images, and from which step on."""
    if start == total:
        return
    steps, kind = images // config.batch_size, jax.devices()[0].device_kind
    progress.say(
        f'{workdir}: trains {config.model.name} on {images} images, {total} steps of '
        f'{config.batch_size} images, {steps} an epoch; devices: {jax.device_count()} ({kind})'
    )
    logged = logged_steps(workdir)
    if start:
        progress.say(f'{workdir}: goes on after step {start} of {total}')
    elif logged:
        progress.say(
            f'{workdir}: begins again; {logged} steps were logged before the first checkpoint'
        )


def _batches(config, split: Split, steps: range) -> Iterator[Batch]:
    """This process's part of some batches, from memory or read from disk while others train."""
    count, rows = jax.local_device_count(), distributed.own_rows(config.batch_size)
    if isinstance(split.images, np.ndarray):
        for step in steps:
            indices = step_indices(config.seed, step, len(split.images), config.batch_size)
            yield make_batch(split, indices[rows], count)
        return
    streamed = stream_views(
        split.images,
        split.labels,
        seed=config.seed,
        batch_size=config.batch_size,
        steps=steps,
        smallest=config.augment.crop_scale if config.augment.crop else None,
        workers=config.data.workers,
        rows=rows,
    )
    for batch in itertools.starmap(Batch, streamed):
        yield spread(batch, count)


class Recorder:
    """Collects metrics on the device and writes them now and then, so that no step waits.

    Without a log it only watches the pace.
    """

    def __init__(self, log: MetricsLog | None, batch_size: int, steps_per_epoch: int, schedule):
        """Knows the log, and what turns steps into epochs, pairs and learning rates."""
        self._log = log
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._schedule = schedule
        self._pending: list[tuple[int, dict]] = []
        # The first step compiles; the clock starts when it is done.
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None

    def add(self, step: int, metrics: dict, bar: tqdm) -> None:
        """Takes the metrics of a step; about once a second writes those that are there."""
        self._pending.append((step, metrics))
        if self._first is None:
            jax.block_until_ready(metrics)
            self._first = self._last = (step, time.perf_counter())
        elif time.perf_counter() - self._last[1] > _LOG_SECONDS:
            loss = self._write(self._pending[:-1])
            epoch = (step - 1) // self._steps_per_epoch + 1
            pace = f'{self.pairs_per_second or 0:.0f} pairs/s'
            bar.set_postfix_str(f'epoch {epoch}, loss {loss:.3f}, {pace}')

    def write_all(self) -> None:
        """Waits for all steps, and writes them."""
        self._write(self._pending)

    def close(self) -> None:
        """Writes what is left, and closes the log."""
        self.write_all()
        if self._log:
            self._log.close()

    @property
    def pairs_per_second(self) -> float | None:
        """Since the first step was done; None before a second one is."""
        if self._first is None or self._last[0] == self._first[0]:
            return None
        (first, began), (last, ended) = self._first, self._last
        return (last - first) * self._batch_size / (ended - began)

    def _write(self, entries: list[tuple[int, dict]]) -> float:
        """Waits for the entries' steps, writes them and returns the last loss."""
        loss = float('nan')
        fetched = jax.device_get([metrics for _, metrics in entries])
        if entries:
            self._last = (entries[-1][0], time.perf_counter())
        for (step, _), metrics in zip(entries, fetched, strict=True):
            numbers = {name: float(value) for name, value in metrics.items()}
            loss = numbers['loss']
            numbers['learning_rate'] = float(self._schedule(step - 1))
            numbers['pairs_per_second'] = self.pairs_per_second
            if self._log:
                self._log.write(step, (step - 1) // self._steps_per_epoch, numbers)
        if self._log:
            self._log.flush()
        del self._pending[: len(entries)]
        return loss
