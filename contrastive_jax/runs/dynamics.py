"""The file `dynamics.npz` of a workdir: difficulty of the monitored images at every look.

Axes: l looks, n monitored images.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.runs.names import CONFIG, DYNAMICS
from contrastive_jax.runtime import distributed, progress
from contrastive_jax.runtime.files import read_arrays, write_arrays

__all__ = ['Dynamics', 'ScoreLog', 'read_dynamics']


class Dynamics(NamedTuple):
    """Difficulty of some images over time.

    Attributes:
      score: `[l, n]` float32, high = difficult.
      epochs: `[l]` finished epochs at each look, ascending.
      indices: `[n]` index of each image in the training split, ascending.
    """

    score: np.ndarray
    epochs: np.ndarray
    indices: np.ndarray


def read_dynamics(workdir: Path) -> Dynamics:
    """Reads the file of a run.

    Raises:
      UserError: there is none, it is damaged, or it belongs to another run.
    """
    path = workdir / DYNAMICS
    if not path.exists():
        raise UserError(
            f'{path}: missing; a run writes it with config.monitor.every_epochs above 0, at its '
            'checkpoints'
        )
    arrays = read_arrays(path)
    shapes = (
        {name: array.shape for name, array in arrays.items()} if isinstance(arrays, dict) else {}
    )
    looks, images = (shapes.get(name, (0,)) for name in ('epochs', 'indices'))
    if shapes.get('score') != looks + images or 'run' not in shapes:
        raise UserError(f'{path}: is no file of a monitor; restore it from a copy, or move it away')
    if str(arrays['run']) != _run_of(workdir):
        raise UserError(
            f'{path}: belongs to another run, whose {CONFIG} differs; move it away, and the '
            'monitor begins a new one'
        )
    dynamics = Dynamics(*(arrays[name] for name in Dynamics._fields))
    # Earlier versions kept the look within an epoch beside the one at its end.
    last = np.append(dynamics.epochs[1:] != dynamics.epochs[:-1], True)[: len(dynamics.epochs)]
    return dynamics._replace(score=dynamics.score[last], epochs=dynamics.epochs[last])


class ScoreLog:
    """Collects the scores of the looks, and writes them as a whole. Process 0 alone writes."""

    def __init__(
        self, workdir: Path, indices: np.ndarray, epoch: int, extended: Path | None = None
    ):
        """Goes on from the file of the run or, if there is none, of the run that it extends.

        Args:
          workdir: folder of the run.
          indices: `[n]` index of each monitored image in the training split.
          epoch: finished epochs of the state that training starts from. Later looks are dropped,
            because the run looks again.
          extended: folder of the run that this one extends; None if it extends none.

        Raises:
          UserError: in every process, if the file is of another run or of other images.
        """
        self._workdir = workdir
        self._dynamics = Dynamics(
            np.zeros((0, len(indices)), np.float32), np.zeros(0, np.int64), indices
        )
        # Scores stay on the device until they are written, so that no step waits.
        self._new: list[tuple[int, jax.Array]] = []
        distributed.by_writer(lambda: self._resume(epoch, extended))

    def add(self, epoch: int, score: jax.Array) -> None:
        """Takes the scores `[n]` of a look."""
        self._new.append((epoch, score))

    def save(self) -> None:
        """Writes all looks, if there is a new one."""
        if not self._new or not distributed.is_writer():
            return
        epochs, scores = zip(*self._new, strict=True)
        score, known, indices = self._dynamics
        # A run that goes on within an epoch looks again at its end.
        kept = ~np.isin(known, epochs)
        score, known = score[kept], known[kept]
        self._dynamics = Dynamics(
            np.concatenate([score, np.stack(jax.device_get(scores))]),
            np.concatenate([known, epochs]),
            indices,
        )
        self._new.clear()
        self._write()

    def _write(self) -> None:
        run = np.array(_run_of(self._workdir))
        write_arrays(self._workdir / DYNAMICS, {**self._dynamics._asdict(), 'run': run})

    def _resume(self, epoch: int, extended: Path | None) -> None:
        if not (self._workdir / DYNAMICS).exists():
            if extended is not None and (extended / DYNAMICS).exists():
                self._take_over(read_dynamics(extended), epoch)
            return
        before, indices = read_dynamics(self._workdir), self._dynamics.indices
        if not np.array_equal(before.indices, indices):
            raise UserError(
                f'{self._workdir / DYNAMICS}: holds the scores of {len(before.indices)} images, '
                f'and config.monitor.images={len(indices)} chooses others; go on with '
                f'config.monitor.images={len(before.indices)}, or move the file away'
            )
        self._keep(before, epoch)

    def _take_over(self, before: Dynamics, epoch: int) -> None:
        if np.array_equal(before.indices, self._dynamics.indices):
            self._keep(before, epoch)
            # This run goes on without the folder of the other.
            self._write()
        else:
            progress.say(
                f'{DYNAMICS}: the earlier run looked at other images; its looks are not taken over'
            )

    def _keep(self, before: Dynamics, epoch: int) -> None:
        kept = before.epochs <= epoch
        self._dynamics = Dynamics(before.score[kept], before.epochs[kept], before.indices)


def _run_of(workdir: Path) -> str:
    """A text that differs between runs: `config.json` is written once, when a run begins."""
    return hashlib.sha256((workdir / CONFIG).read_bytes()).hexdigest()
