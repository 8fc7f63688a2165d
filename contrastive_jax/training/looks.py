"""What a monitor adds to a training: looks at the encoder after some of its steps."""

from collections.abc import Callable
from typing import NamedTuple

from flax import nnx

from contrastive_jax.training.step import TrainState
from contrastive_jax.training.task import Metrics

__all__ = ['Looks', 'Monitor', 'no_looks']


class Looks(NamedTuple):
    """The two things that a monitor does while a run trains.

    Attributes:
      metrics: function of the number of finished steps and the state, called after each step. It
        returns the metrics of a look, still on the device, or none if no look is due. All processes
        must call it.
      save: called before each checkpoint; it writes what the looks have found besides metrics.
    """

    metrics: Callable[[int, TrainState], Metrics] = lambda step, state: {}
    save: Callable[[], None] = lambda: None


# A function of the static description of the model and of the state that a run starts from.
Monitor = Callable[[nnx.GraphDef, TrainState], Looks]


def no_looks(graphdef: nnx.GraphDef, state: TrainState) -> Looks:
    """The monitor that never looks."""
    return Looks()
