"""From a config to a run's first state and its step, everything static bound."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import optax
from flax import nnx

from contrastive_jax.models import Context, Moments, compute_dtype
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.training.optimizer import make_optimizer, make_schedule
from contrastive_jax.training.step import TrainState, init_state, train_step
from contrastive_jax.training.task import task_of

__all__ = ['Setup', 'set_up']


class Setup(NamedTuple):
    """What a run starts from.

    Attributes:
      graphdef: static description of the model.
      initial: the state before the first step, on one device.
      step: `train_step` of state and batch, and `axis_name` where it is mapped.
      schedule: learning rate of each step.
    """

    graphdef: nnx.GraphDef
    initial: TrainState
    step: Callable
    schedule: optax.Schedule


def set_up(config, moments: Moments, steps_per_epoch: int, axis_name: str | None = None) -> Setup:
    """Builds model, optimiser and step of the task that a config names.

    Args:
      config: the whole config.
      moments: of the training images.
      steps_per_epoch: steps in one pass over the images.
      axis_name: axis that the step will be mapped over; None on one device.
    """
    schedule = make_schedule(config, steps_per_epoch)
    optimizer = make_optimizer(config, schedule)
    task = task_of(config)
    graphdef, initial = init_state(
        partial(task.build, moments),
        optimizer,
        model_key=device_key(KeyUse.MODEL, config.seed),
        run_key=device_key(KeyUse.RUN, config.seed),
        init=task.init,
        context=partial(
            Context,
            dtype=compute_dtype(config.precision),
            axis_name=axis_name if config.model.sync_batch_norm else None,
        ),
    )
    step = partial(
        train_step,
        graphdef=graphdef,
        optimizer=optimizer,
        loss=task.loss,
        skip_nonfinite=config.on_nonfinite == 'skip',
    )
    return Setup(graphdef, initial, step, schedule)
