"""When a run saves a checkpoint: after a number of steps or minutes, whichever is reached first."""

import time
from collections.abc import Callable

import jax

from contrastive_jax.runtime import distributed

__all__ = ['CheckpointClock', 'steps_between']

# Steps after which several processes ask process 0 for the time. To ask waits for all of them.
_ASK_EVERY = 10


class CheckpointClock:
    """Says after each step whether a checkpoint is due."""

    def __init__(
        self, every: int, minutes: int | float, clock: Callable[[], float] = time.monotonic
    ):
        """Starts with the first call of `due`, so that compilation does not count.

        Args:
          every: steps between checkpoints.
          minutes: largest time between checkpoints; 0 for no limit.
          clock: returns seconds.
        """
        self._every = every
        self._seconds = 60 * minutes
        self._clock = clock
        self._saved: float | None = None

    def due(self, step: int) -> bool:
        """Whether to save after this step; all processes call it after every step."""
        now = self._clock()
        if self._saved is None:
            self._saved = now
        late = self._seconds > 0 and _agreed(step, now - self._saved >= self._seconds)
        if late or step % self._every == 0:
            self._saved = now
            return True
        return False


def _agreed(step: int, late: bool) -> bool:
    """Whether it is late by the clock of process 0."""
    if jax.process_count() == 1:
        return late
    if step % _ASK_EVERY:
        return False
    return distributed.first_said('late' if late and distributed.is_writer() else '') != ''


def steps_between(
    every: int, minutes: int | float, batch_size: int, pairs_per_second: float | None
) -> int | float:
    """The largest number of steps between two checkpoints.

    Args:
      every: steps between checkpoints.
      minutes: largest time between checkpoints; 0 for no limit.
      batch_size: images of a step.
      pairs_per_second: images trained on in a second; None where it is not known.
    """
    if not minutes or not pairs_per_second:
        return every
    return min(every, 60 * minutes * pairs_per_second / batch_size + _ASK_EVERY)
