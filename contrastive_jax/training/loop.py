"""Trains what a config describes, and writes logs and checkpoints."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from contrastive_jax.data.batches import Batch, make_batch, split_over_devices, step_indices
from contrastive_jax.data.sources import Split
from contrastive_jax.data.streaming import stream_views
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.images import moments_of
from contrastive_jax.runs.logs import (
    MetricsLog,
    check_log,
    checksum_of_steps,
    logged_pace,
    logged_steps,
)
from contrastive_jax.runs.names import CONFIG, TENSORBOARD
from contrastive_jax.runtime import distributed, progress
from contrastive_jax.runtime.files import read_json
from contrastive_jax.runtime.preemption import Preempted
from contrastive_jax.training import devices
from contrastive_jax.training.due import CheckpointClock, steps_between
from contrastive_jax.training.looks import Looks, Monitor, no_looks
from contrastive_jax.training.optimizer import count_steps, learning_rates
from contrastive_jax.training.recorder import Recorder
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.step import TrainState
from contrastive_jax.training.steps import take_steps
from contrastive_jax.training.watch import WATCHED, Check, Watch

__all__ = ['Pretrained', 'pretrain']


class Pretrained(NamedTuple):
    """The outcome of a training.

    Attributes:
      graphdef: static description of the model.
      initial: the state that the seed draws, with untrained weights.
      final: the state after the last step.
      pairs_per_second: images per second, without the time of compilation; None if fewer than two
        steps were left to train.
    """

    graphdef: nnx.GraphDef
    initial: TrainState
    final: TrainState
    pairs_per_second: float | None


def pretrain(
    config: ConfigDict,
    split: Split,
    workdir: Path,
    should_stop: Callable[[int], bool] = lambda step: False,
    monitor: Monitor = no_looks,
    begin: Callable[[nnx.GraphDef, TrainState], TrainState] | None = None,
    logger: str = TENSORBOARD,
) -> Pretrained:
    """Trains to the last step, starting from the newest checkpoint in `workdir` if there is one.

    Args:
      config: the whole config, validated.
      split: the training images and, where known, their labels.
      workdir: folder that metrics and checkpoints are written to.
      should_stop: function of the number of finished steps, called after each step; it returns
        True to save and stop.
      monitor: function that makes the looks at the encoder.
      begin: function from the description of the model and the state that the seed draws to the
        state that the run begins with; None to begin with the state that the seed draws.
      logger: where the curves are shown, one of `runs.names.LOGGERS`.

    Returns:
      Static description of the model, the state that the seed draws, the state after the last step,
      and images per second, see `Pretrained`.

    Raises:
      Preempted: `should_stop` returned True, and a checkpoint has been saved.
      UserError: no checkpoint is intact, the logger cannot begin, or the loss or the gradient is
        not finite.
    """
    n = len(split.images)
    steps_per_epoch = n // config.batch_size
    total = count_steps(config, steps_per_epoch)
    graphdef, initial, step_function, schedule = set_up(
        config, moments_of(workdir, split), steps_per_epoch, devices.AXIS
    )
    mapped_step = devices.map_over_devices(step_function)
    with closing(Checkpoints(workdir, keep=config.checkpoint_keep)) as checkpoints:
        if begin is not None:
            first = devices.replicate(begin(graphdef, initial))
            checkpoints.begin(first, checksum_of_steps(workdir, int(first.step)))
        state = checkpoints.restore(
            devices.replicate(initial), lambda step: checksum_of_steps(workdir, step)
        )
        start = int(state.step)
        if not start:
            # A checkpoint is written in the background, while steps up to the next one are logged.
            distributed.by_writer(lambda: check_log(workdir, 2 * _steps_between(config, workdir)))
        _say_start(config, workdir, start, total, n)
        batches = _batches(config, split, range(start, total))
        log = _open_log(workdir, start, logger)
        watch = Watch(Check(config, n, workdir), WATCHED)
        clock = CheckpointClock(
            config.checkpoint_every, config.checkpoint_minutes, keep=config.checkpoint_keep
        )
        rates = learning_rates(schedule, total)
        recorder = Recorder(log, config.batch_size, steps_per_epoch, rates)
        looks = monitor(graphdef, state) if start < total else Looks()

        def after(step, state, metrics, bar):
            recorder.add(step, metrics | looks.metrics(step, state), bar)
            watch.add(step, metrics)
            stopping = should_stop(step)
            if stopping or clock.due(step) or step == total:
                recorder.write_all()
                watch.check_all()
                looks.save()
                checkpoints.save(state, log.checksum() if log else '')
            if stopping:
                raise Preempted(f'{workdir}: told to stop; saved at step {step} of {total}')

        with closing(recorder):
            state = take_steps(
                state, mapped_step, batches, total=total, start=start, after=after, leave=True
            )
    return Pretrained(graphdef, initial, state, recorder.pairs_per_second)


def _open_log(workdir: Path, start: int, logger: str) -> MetricsLog | None:
    """The log of the run in process 0, None in the others. All processes must call it."""
    opened: list[MetricsLog] = []
    distributed.by_writer(lambda: opened.append(MetricsLog(workdir, start, logger)))
    return opened[0] if opened else None


def _steps_between(config: ConfigDict, workdir: Path) -> int | float:
    """The most steps that a run logs from one checkpoint to the next."""
    pace = logged_pace(workdir)
    begun = read_json(workdir / CONFIG) if (workdir / CONFIG).exists() else {}
    # A run may go on with checkpoints at other times than it was begun with.
    return max(
        steps_between(
            fields['checkpoint_every'], fields['checkpoint_minutes'], config.batch_size, pace
        )
        for fields in ({**config}, {**config, **begun})
    )


def _say_start(config: ConfigDict, workdir: Path, start: int, total: int, images: int) -> None:
    """Prints the model, the number of images and steps, and the step that training starts from."""
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


def _batches(config: ConfigDict, split: Split, steps: range) -> Iterator[Batch]:
    """Yields this process's part of each batch, from memory or from worker processes that read."""
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
        yield split_over_devices(batch, count)
