"""Notices numbers that go wrong while a run trains: what is not finite, and what collapses."""

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging

from contrastive_jax.data.batches import step_indices
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import distributed
from contrastive_jax.runtime.files import write_json

__all__ = ['WATCHED', 'Check', 'Watch', 'described', 'is_finite']

# How many steps later their numbers are looked at: they are there then.
_STEPS_LATE = 8
# What `Check` looks at.
WATCHED = ('loss', 'gradient_norm', 'embedding_std', 'nonfinite_inner_step')
# Standard deviation of the embeddings below which they count as one.
_COLLAPSED = 0.01


class Watch:
    """Hands the numbers of every step to a check, a few steps late, so that no step waits for it.

    All processes see the same numbers and look at the same steps, so that all of them stop at one.
    """

    def __init__(
        self, check: Callable[[int, dict[str, Any]], None], names: Collection[str] | None = None
    ):
        """Knows the check, and the names of the metrics that it looks at; None for all."""
        self._check, self._names = check, names
        self._unseen: deque[tuple[int, dict]] = deque()

    def add(self, step: int, metrics: dict) -> None:
        """Takes the metrics of a step; looks at those of an earlier one.

        Raises:
          UserError: the check of that one raises it.
        """
        names = metrics if self._names is None else self._names
        seen = {name: metrics[name] for name in names if name in metrics}
        self._unseen.append((step, seen))
        if len(self._unseen) > _STEPS_LATE:
            self._look(*self._unseen.popleft())

    def check_all(self) -> None:
        """Looks at all steps that it has not looked at; raises as `add` does."""
        while self._unseen:
            self._look(*self._unseen.popleft())

    def _look(self, step: int, metrics: dict) -> None:
        self._check(step, jax.tree.map(float, jax.device_get(metrics)))


def is_finite(numbers: Mapping[str, float]) -> bool:
    """Whether loss and gradient of a step are."""
    return math.isfinite(numbers['loss']) and math.isfinite(numbers['gradient_norm'])


def described(numbers: Mapping[str, float]) -> str:
    """Loss and gradient of a step, and the first inner step of thinking that is not finite."""
    text = f'loss={numbers["loss"]}, gradient_norm={numbers["gradient_norm"]}'
    inner = int(numbers.get('nonfinite_inner_step', -1))
    return f'{text}, inner step {inner} of thinking the first' if inner >= 0 else text


class Check:
    """Stops a run, or says that it skips, where numbers are not finite; warns of a collapse."""

    def __init__(self, config, images: int, workdir: Path):
        """Knows the config, the number of images, and where to leave what was wrong."""
        self._config, self._images, self._workdir = config, images, workdir
        self._collapsed = False

    def __call__(self, step: int, numbers: dict[str, float]) -> None:
        """Looks at the numbers of a step.

        Raises:
          UserError: loss or gradient are not finite, and `on_nonfinite` is `stop`.
        """
        if not is_finite(numbers):
            self._nonfinite(step, numbers)
        # Not every task has embeddings.
        collapsed = numbers.get('embedding_std', 1.0) < _COLLAPSED
        if collapsed and not self._collapsed and distributed.is_writer():
            logging.warning(
                'step %d: the embeddings have collapsed, all images give nearly the same one '
                '(embedding_std=%.2g); lower config.optimizer.learning_rate, or lengthen '
                'config.optimizer.warmup_epochs',
                step,
                numbers['embedding_std'],
            )
        self._collapsed = collapsed

    def _nonfinite(self, step: int, numbers: dict[str, float]) -> None:
        found = f'step {step}: {described(numbers)}'
        if self._config.on_nonfinite == 'skip':
            logging.warning('%s; this update is left out', found)
            return
        indices = step_indices(
            self._config.seed, step - 1, self._images, self._config.batch_size
        ).tolist()
        path = self._workdir / 'nonfinite.json'
        texts = {name: str(value) for name, value in numbers.items()}
        dump = {'step': step, **texts, 'indices': indices, 'config': self._config.to_dict()}
        distributed.by_writer(lambda: write_json(path, dump))
        raise UserError(
            f'{found}: not finite; {path} has the config and the rows of the pre-training images '
            'in this batch. Checkpoints are from before. In another --workdir, lower '
            'config.optimizer.learning_rate, or set config.on_nonfinite=skip'
        )
