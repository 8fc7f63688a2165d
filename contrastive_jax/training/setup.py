"""From a config to a run's first state and its step, everything static bound."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import optax
from flax import nnx

from contrastive_jax.ebt.denoise import denoise
from contrastive_jax.ebt.denoisers import DENOISERS
from contrastive_jax.models import Moments
from contrastive_jax.tasks.contrast import contrast
from contrastive_jax.tasks.objective import make_objective
from contrastive_jax.training.optimizer import make_optimizer, make_schedule
from contrastive_jax.training.step import TrainState, init_state, train_step
from contrastive_jax.training.task import Task

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
    """Builds model, optimiser and task.

    Args:
      config: the whole config.
      moments: of the training images.
      steps_per_epoch: steps in one pass over the images.
      axis_name: axis that the step will be mapped over; None on one device.
    """
    schedule = make_schedule(config, steps_per_epoch)
    optimizer = make_optimizer(config, schedule)
    graphdef, initial = init_state(config, moments, optimizer, axis_name)
    step = partial(
        train_step,
        graphdef=graphdef,
        optimizer=optimizer,
        task=_task(config, graphdef),
        skip_nonfinite=config.on_nonfinite == 'skip',
    )
    return Setup(graphdef, initial, step, schedule)


def _task(config, graphdef: nnx.GraphDef) -> Task:
    """What the model of a config is trained for."""
    if config.model.name in DENOISERS:
        return partial(denoise, options=config.denoise)
    return partial(
        contrast,
        graphdef=graphdef,
        objective=make_objective(config),
        augmentation=config.augment,
        momentum_options=config.moco,
    )
