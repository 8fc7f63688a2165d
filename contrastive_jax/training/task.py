"""A task: the pure functions that define what a run trains for, with its config bound.

Axes: b images of this device.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from contrastive_jax.config import section_of

__all__ = ['Loss', 'Metrics', 'Outcome', 'StepContext', 'Task', 'task_of']

Metrics = dict[str, Float[Array, '']]


class StepContext(NamedTuple):
    """What a loss knows about the step, apart from its batch.

    Attributes:
      key: random key of this step.
      first: index of this device's first image in the global batch.
      axis_name: name of the mapped axis; None on one device.
      step: number of finished steps before this one.
    """

    key: Key[Array, '']
    first: int | Int[Array, '']
    axis_name: str | None
    step: int | Int[Array, '']

    def keys(self, count: int) -> Key[Array, ' b']:
        """Random keys of this device's images, the same on any number of devices."""
        return jax.vmap(lambda index: jax.random.fold_in(self.key, index))(
            self.first + jnp.arange(count)
        )


class Outcome(NamedTuple):
    """What a loss returns.

    Attributes:
      loss: mean over the batches of all devices.
      metrics: metrics by name, the same on every device.
      extra: next extra state of the task, or None.
    """

    loss: Float[Array, '']
    metrics: Metrics
    extra: Any = None


# A function of model, extra state, batch and `StepContext`.
Loss = Callable[..., Outcome]


class Task(NamedTuple):
    """What a run trains for.

    Attributes:
      build: function from the pixel moments of the training images and a `models.Context` to the
        model. The model has a method `encode(images, train)`, whose features are probed.
      loss: function from model, extra state, batch and `StepContext` to an `Outcome`, which the
        step differentiates. It may change the batch statistics of the model, and nothing else.
      init: function from the first model and a random key to the extra state.
      check: function that raises UserError if a `sources.Dataset` does not fit the task.
      evaluate: function from the static description of the model, the last state and the data set
        to a dict, which is added to the result.
      announcement: lines printed before training.
      summary: function from the result to lines that are printed after the accuracies.
      kind: kind of the trained model. An `encoder` also has `features_and_tokens`.
    """

    build: Callable[..., Any]
    loss: Loss
    init: Callable[..., Any] = lambda model, key: None
    check: Callable[..., None] = lambda dataset: None
    evaluate: Callable[..., dict] = lambda graphdef, state, dataset: {}
    announcement: Sequence[str] = ()
    summary: Callable[[dict], list[str]] = lambda result: []
    kind: str = 'encoder'


def task_of(config: ConfigDict) -> Task:
    """The task that a config names. This function imports its module.

    Args:
      config: the whole config.

    Returns:
      The task, to whose functions the config is bound.
    """
    return import_module(section_of(config).module).make_task(config)
