"""Pre-training from a config: batches in, steps, logs and checkpoints out."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from contrastive_jax.data.batches import Batch, make_batch, spread, step_indices
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
from contrastive_jax.training.recorder import Recorder
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.step import TrainState
from contrastive_jax.training.steps import take_steps
from contrastive_jax.training.watch import WATCHED, Check, Watch

__all__ = ['Pretrained', 'pretrain']


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


def pretrain(
    config, split: Split, workdir: Path, told_to_stop: Callable[[int], bool] = lambda step: False
) -> Pretrained:
    """Trains until the last step, from the newest checkpoint in `workdir` if there is one.

    Args:
      config: the whole config, validated.
      split: the training images; labels, where known, serve for statistics alone.
      workdir: receives metrics and checkpoints.
      told_to_stop: called with the number of steps taken after each step; True to save and stop.

    Raises:
      Preempted: it was told to stop, and has saved.
      UserError: no checkpoint is intact, or loss or gradient are not finite.
    """
    n = len(split.images)
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
        watch = Watch(Check(config, n, workdir), WATCHED)
        clock = CheckpointClock(config.checkpoint_every, config.checkpoint_minutes)
        recorder = Recorder(log, config.batch_size, steps_per_epoch, schedule)

        def after(step, state, metrics, bar):
            recorder.add(step, metrics, bar)
            watch.add(step, metrics)
            stopping = told_to_stop(step)
            if stopping or clock.due(step) or step == total:
                recorder.write_all()
                watch.check_all()
                checkpoints.save(state, log.checksum() if log else '')
            if stopping:
                raise Preempted(f'{workdir}: told to stop; saved at step {step} of {total}')

        with closing(recorder):
            state = take_steps(
                state, mapped_step, batches, total=total, start=start, after=after, leave=True
            )
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
