"""The loop of every training: takes a step for each batch and reports it."""

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from tqdm import tqdm

from contrastive_jax.data.batches import prefetch
from contrastive_jax.runtime import distributed, progress
from contrastive_jax.training import devices

__all__ = ['take_steps']


def take_steps(
    state: Any,
    step: Callable[[Any, Any], tuple[Any, Any]],
    batches: Iterable,
    *,
    total: int,
    after: Callable[[int, Any, Any, tqdm], None],
    start: int = 0,
    to_device: Callable[[Any], Any] = devices.split,
    name: str = 'train',
    leave: bool = False,
) -> Any:
    """Takes a step for each batch. A thread prepares the next batches meanwhile.

    Args:
      state: state before the first of these steps. The step donates its memory, so the caller must
        not use it again.
      step: compiled function from state and batch to the next state and the metrics.
      batches: batches, one for each step.
      total: number of the last step.
      after: function called after each step with the number of the step, the state, the metrics and
        the progress bar. An exception from it ends the loop. To keep the state it must copy it,
        because the next step donates its memory.
      start: number of steps that were finished before.
      to_device: function that moves a batch to the devices.
      name: name that the progress bar shows.
      leave: whether the bar stays on the terminal.

    Returns:
      The state after the last step.
    """
    with (
        closing(prefetch(batches, to_device)) as prefetched,
        progress.track(
            prefetched, name, total=total, initial=start, unit='step', leave=leave
        ) as bar,
        distributed.or_leave(),
    ):
        for number, batch in enumerate(bar, start + 1):
            state, metrics = step(state, batch)
            after(number, state, metrics, bar)
    return state
