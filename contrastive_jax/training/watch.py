"""Checks the metrics of a training for numbers that are not finite and for collapsed embeddings."""

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from contrastive_jax.data.batches import step_indices
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import distributed
from contrastive_jax.runtime.files import write_json

__all__ = ['WATCHED', 'Check', 'Watch', 'described', 'is_finite']

# Steps between a step and the check of its metrics. By then the device has computed them.
_STEPS_LATE = 8
# Metrics that `Check` reads.
WATCHED = ('loss', 'gradient_norm', 'embedding_std', 'nonfinite_inner_step')
# Standard deviation below which embeddings count as collapsed.
_COLLAPSED = 0.01


class Watch:
    """Passes the metrics of every step to a check, a few steps later, so that no step waits.

    All processes have the same metrics and check them at the same steps, so they stop together.
    """

    def __init__(
        self, check: Callable[[int, dict[str, Any]], None], names: Collection[str] | None = None
    ):
        """Stores the check.

        Args:
          check: function of the number of a step and its metrics.
          names: names of the metrics that the check reads; None for all.
        """
        self._check, self._names = check, names
        self._unchecked: deque[tuple[int, dict]] = deque()

    def add(self, step: int, metrics: dict) -> None:
        """Stores the metrics of a step, and checks those of an earlier step.

        Raises:
          UserError: the check raises it.
        """
        names = metrics if self._names is None else self._names
        read = {name: metrics[name] for name in names if name in metrics}
        self._unchecked.append((step, read))
        if len(self._unchecked) > _STEPS_LATE:
            self._check_next()

    def check_all(self) -> None:
        """Checks all steps that are not checked yet; raises as `add` does."""
        while self._unchecked:
            self._check_next()

    def _check_next(self) -> None:
        step, metrics = self._unchecked.popleft()
        self._check(step, jax.tree.map(float, jax.device_get(metrics)))


def is_finite(numbers: Mapping[str, float]) -> bool:
    """Whether the loss and the gradient of a step are finite."""
    return math.isfinite(numbers['loss']) and math.isfinite(numbers['gradient_norm'])


def described(numbers: Mapping[str, float]) -> str:
    """Loss, gradient and the first non-finite step of thinking as text."""
    text = f'loss={numbers["loss"]}, gradient_norm={numbers["gradient_norm"]}'
    inner = int(numbers.get('nonfinite_inner_step', -1))
    return (
        f'{text}, inner step {inner} of thinking is the first that is not finite'
        if inner >= 0
        else text
    )


class Check:
    """Stops a run if its numbers are not finite, or warns that it skips; warns about a collapse."""

    def __init__(self, config: ConfigDict, images: int, workdir: Path):
        """Stores what an error message needs.

        Args:
          config: the whole config.
          images: number of training images.
          workdir: folder that `nonfinite.json` is written to.
        """
        self._config, self._images, self._workdir = config, images, workdir
        self._skips = config.on_nonfinite == 'skip'
        self._collapsed = False

    def __call__(self, step: int, numbers: dict[str, float]) -> None:
        """Checks the metrics of a step.

        Raises:
          UserError: the loss, the gradient or a step of thinking is not finite, and
            `config.on_nonfinite` is `stop`.
        """
        # The loss may be of an earlier step of thinking, and then the update is a good one.
        thought = numbers.get('nonfinite_inner_step', -1) < 0 or self._skips
        if not (is_finite(numbers) and thought):
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
        description = f'step {step}: {described(numbers)}'
        if self._skips:
            if distributed.is_writer():
                logging.warning('%s; this update is left out', description)
            return
        indices = step_indices(
            self._config.seed, step - 1, self._images, self._config.batch_size
        ).tolist()
        path = self._workdir / 'nonfinite.json'
        texts = {name: str(value) for name, value in numbers.items()}
        dump = {'step': step, **texts, 'indices': indices, 'config': self._config.to_dict()}
        distributed.by_writer(lambda: write_json(path, dump))
        raise UserError(
            f'{description}: not finite; {path} has the config and the rows of the pre-training '
            'images in this batch. All checkpoints are from earlier steps. In another --workdir, '
            'lower config.optimizer.learning_rate, or set config.on_nonfinite=skip'
        )
