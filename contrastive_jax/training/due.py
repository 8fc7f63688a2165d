"""Decides when a run saves a checkpoint: after some steps or minutes, whichever comes first."""

import time
from collections.abc import Callable

import jax

from contrastive_jax.runtime import distributed

__all__ = ['CheckpointClock', 'steps_between']

# With several processes, steps between two questions to process 0 for the time. Each question makes
# all processes wait for each other.
_ASK_EVERY = 10


class CheckpointClock:
    """Says after each step whether a checkpoint is due."""

    def __init__(
        self,
        every: int,
        minutes: int | float,
        clock: Callable[[], float] = time.monotonic,
        keep: int = 0,
    ):
        """Stores the intervals. The clock starts at the first call of `due`, after compilation.

        Args:
          every: steps between checkpoints.
          minutes: largest time between checkpoints, in minutes; 0 for no limit.
          clock: function that returns the time in seconds.
          keep: steps between checkpoints that stay; 0 for none.
        """
        self._every = (every, keep) if keep else (every,)
        self._seconds = 60 * minutes
        self._clock = clock
        self._saved: float | None = None

    def due(self, step: int) -> bool:
        """Whether to save after this step. All processes must call it after every step."""
        now = self._clock()
        if self._saved is None:
            self._saved = now
        overdue = now - self._saved >= self._seconds
        by_step = any(step % every == 0 for every in self._every)
        if (self._seconds > 0 and _agreed(step, overdue)) or by_step:
            self._saved = now
            return True
        return False


def _agreed(step: int, overdue: bool) -> bool:
    """Whether a checkpoint is overdue by the clock of process 0."""
    if jax.process_count() == 1:
        return overdue
    if step % _ASK_EVERY:
        return False
    return distributed.first_message('overdue' if overdue and distributed.is_writer() else '') != ''


def steps_between(
    every: int, minutes: int | float, batch_size: int, pairs_per_second: float | None
) -> int | float:
    """The largest number of steps between two checkpoints.

    Args:
      every: steps between checkpoints.
      minutes: largest time between checkpoints, in minutes; 0 for no limit.
      batch_size: images in a step.
      pairs_per_second: images that a second of training takes, or None if it is not known.

    Returns:
      A number above 0 and at most `every`. It is `every` if there is no limit of time or the pace
      is not known; otherwise it may be a fraction.
    """
    if not minutes or not pairs_per_second:
        return every
    return min(every, 60 * minutes * pairs_per_second / batch_size + _ASK_EVERY)
