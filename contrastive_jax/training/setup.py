"""Builds the first state of a run and its step function from a config."""

from functools import partial
from typing import NamedTuple

import optax
from flax import nnx
from ml_collections import ConfigDict

from contrastive_jax.models import Context, Moments, compute_dtype
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.training.optimizer import make_optimizer, make_schedule
from contrastive_jax.training.step import Step, TrainState, init_state, train_step
from contrastive_jax.training.task import task_of

__all__ = ['Setup', 'set_up']


class Setup(NamedTuple):
    """The parts that a run starts with.

    Attributes:
      graphdef: static description of the model.
      initial: the state before the first step, on one device.
      step: `train_step` as a function of state and batch; a mapped one also takes `axis_name`.
      schedule: learning rate of each step.
    """

    graphdef: nnx.GraphDef
    initial: TrainState
    step: Step
    schedule: optax.Schedule


def set_up(
    config: ConfigDict, moments: Moments, steps_per_epoch: int, axis_name: str | None = None
) -> Setup:
    """Builds the model, the optimiser and the step of the task that a config names.

    Args:
      config: the whole config.
      moments: pixel moments of the training images.
      steps_per_epoch: steps in one pass over the images.
      axis_name: name of the axis that the step will be mapped over; None on one device.

    Returns:
      Description of the model, first state on one device, step and schedule, see `Setup`.
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
