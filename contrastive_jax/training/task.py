"""What a run trains for: a task, a tuple of pure functions with their config bound.

Axes: b images of this device.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from contrastive_jax.config import section_of

__all__ = ['Metrics', 'Outcome', 'StepContext', 'Task', 'task_of']

Metrics = dict[str, Float[Array, '']]


class StepContext(NamedTuple):
    """What a loss knows of the step, besides its batch.

    Attributes:
      key: of this step.
      first: index of this device's first image in the global batch.
      axis_name: mapped axis; None on one device.
      step: steps taken before this one.
    """

    key: Key[Array, '']
    first: int | Int[Array, '']
    axis_name: str | None
    step: int | Int[Array, '']

    def keys(self, count: int) -> Key[Array, ' b']:
        """A key for each image, by its index in the global batch: the same on any devices."""
        return jax.vmap(lambda index: jax.random.fold_in(self.key, index))(
            self.first + jnp.arange(count)
        )


class Outcome(NamedTuple):
    """What a task makes of a batch.

    Attributes:
      loss: mean over the batch of all devices.
      metrics: the same on every device.
      extra: next extra state of the task, if it has one.
    """

    loss: Float[Array, '']
    metrics: Metrics
    extra: Any = None


class Task(NamedTuple):
    """What a run trains for.

    Attributes:
      build: model of the pixel moments of the training images and a `models.Context`; it has
        `encode(images, train)`, which is probed.
      loss: `Outcome` of model, extra state, batch and `StepContext`, which the step differentiates.
        It may change the model's batch statistics, nothing else.
      init: extra state of the first model and a key; None for none.
      check: raises UserError where a data set, a `sources.Dataset`, does not fit the task.
      evaluate: what the result gains besides the probes: a dict, of the model's static
        description, the last state and the data set.
      announcement: lines printed before the run trains.
      summary: lines printed after the probes, of the result.
      kind: what the trained model is. An `encoder` also has `features_and_tokens`.
    """

    build: Callable[..., Any]
    loss: Callable[..., Outcome]
    init: Callable[..., Any] = lambda model, key: None
    check: Callable[..., None] = lambda dataset: None
    evaluate: Callable[..., dict] = lambda graphdef, state, dataset: {}
    announcement: Sequence[str] = ()
    summary: Callable[[dict], list[str]] = lambda result: []
    kind: str = 'encoder'


def task_of(config) -> Task:
    """The task that a config names; its module is imported only now.

    Args:
      config: the whole config.
    """
    return import_module(section_of(config).module).make_task(config)
