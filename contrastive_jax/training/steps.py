"""The loop of every training: a batch in, a step taken, and whoever looks on is told."""

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
    """Takes a step for each batch, which another thread prepares meanwhile.

    Args:
      state: before the first of these steps; given away.
      step: of state and batch, to the next state and its metrics; compiled and mapped.
      batches: one for each step.
      total: number of the last step.
      after: called after each step with its number, the state, its metrics and the progress bar.
        What it raises ends the loop. The next step takes the state: it must be copied to be kept.
      start: steps taken before.
      to_device: moves a batch to the devices.
      name: shown by the progress bar.
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
