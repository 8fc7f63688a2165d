"""What a step trains for: a function of model, state and batch, which `train_step` differentiates.

Axes: b images of this device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

__all__ = ['Metrics', 'Outcome', 'Place', 'Task']

Metrics = dict[str, Float[Array, '']]


class Place(NamedTuple):
    """Where a batch stands in a run.

    Attributes:
      key: of this step.
      first: place of this device's first image in the global batch.
      axis_name: mapped axis; None on one device.
    """

    key: Key[Array, '']
    first: int | Int[Array, '']
    axis_name: str | None

    def keys(self, count: int) -> Key[Array, ' b']:
        """A key for each image, by its place in the global batch: the same on any devices."""
        return jax.vmap(lambda place: jax.random.fold_in(self.key, place))(
            self.first + jnp.arange(count)
        )


class Outcome(NamedTuple):
    """What a task makes of a batch.

    Attributes:
      loss: mean over the batch of all devices.
      metrics: the same on every device.
      momentum: next state of a momentum encoder and its queue, if there is one.
    """

    loss: Float[Array, '']
    metrics: Metrics
    momentum: Any = None


# Of model, state, batch and place. The model may change its batch statistics, nothing else.
Task = Callable[..., Outcome]
