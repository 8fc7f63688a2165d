"""Checkpoints of the training state, written by Orbax and checked when they are read.

The checksum of the state stays beside Orbax's own checks: after one flipped bit in a file of array
data, Orbax returned other values without an error.
"""

import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec
from orbax.checkpoint.checkpoint_managers import PreservationPolicy

from contrastive_jax.data.stored import array_checksum
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import distributed
from contrastive_jax.training.step import TrainState

__all__ = ['Checkpoints']

_KEPT = 2
# Bytes that stay free beside a checkpoint, for its small files, the logs and the result.
_SPARE = 2**20
_STATE, _LOG, _STAYS = 'state_sha256', 'log_sha256', 'stays'
# The name under which a checkpoint holds `TrainState.extra`. Checkpoints of the first edition don't
# store it; they hold a queue with its momentum encoder at most.
_EXTRA, _EXTRA_AT_FIRST = 'extra_name', 'momentum'


@dataclasses.dataclass(frozen=True)
class _Kept(PreservationPolicy):
    """Which checkpoints Orbax does not delete: the newest, and those that are kept for good.

    Attributes:
      every: steps that are multiples of this number are kept; 0 for none.
      earlier: steps that earlier starts of the run have kept.
    """

    every: int
    earlier: set[int]

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """For each checkpoint, in the order of their steps, whether it is not deleted."""
        steps = [info.step for info in checkpoints]
        return [self.stays(step) or step in steps[-_KEPT:] for step in steps]

    def stays(self, step: int) -> bool:
        """Whether the checkpoint of a step is kept for good."""
        return step in self.earlier or bool(self.every and step % self.every == 0)


class Checkpoints:
    """The newest states of a run, in `workdir/checkpoints`.

    All processes save and restore together. The random key is not saved, because it follows from
    the seed. Each state is saved with its checksum and with that of the log up to its step.
    """

    def __init__(self, workdir: Path, *, keep: int = 0, read_only: bool = False):
        """Opens the folder; unless `read_only`, creates it and deletes incomplete checkpoints.

        Args:
          workdir: folder of the run.
          keep: checkpoints of steps that are multiples of this number stay; 0 for none.
          read_only: whether nothing is written.
        """
        self._workdir, self._read_only = workdir, read_only
        self._folder = (workdir / 'checkpoints').absolute()
        self._kept = _Kept(keep, set())
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._kept,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)
        # What an earlier start has kept stays, although this one may be given another `keep`.
        if not read_only:
            self._kept.earlier.update(self._said_to_stay())

    def restore(
        self, state: TrainState, log_checksum: Callable[[int], str] | None = None
    ) -> TrainState:
        """The newest intact state, or `state` itself if nothing has been saved.

        Newer checkpoints that are damaged, or that the log does not reach, are moved to `damaged/`.

        Args:
          state: state of the run before the first step.
          log_checksum: returns the checksum of the first steps of the log; None to ignore the log.

        Raises:
          UserError: there are checkpoints, but none of them is intact.
        """
        like = _global(_saved_part(state))
        refused: dict[int, str] = {}
        for step in sorted(self._present(), reverse=True):
            # All processes must do the same, also if only one of them sees the damage.
            checksums = self._checksums(step)
            saved: dict[str, Any] = {}
            reason = distributed.first_message(_objection(step, checksums, log_checksum))
            if not reason:
                saved, reason = self._read(step, like, checksums)
                reason = distributed.first_message(reason)
            if not reason:
                self._set_aside(refused)
                return state._replace(**saved)
            refused[step] = reason
        if refused:
            reasons = '; '.join(f'step {step}: {reason}' for step, reason in refused.items())
            raise UserError(
                f'{self._workdir}: no checkpoint can be used ({reasons}); restore the folder from '
                'a copy, or begin again in another --workdir'
            )
        return state

    def save(self, state: TrainState, log_checksum: str, *, begins: bool = False) -> None:
        """Saves a state under its step, in the background; then deletes the oldest ones.

        Args:
          state: state of the run.
          log_checksum: checksum of the log up to the step of the state.
          begins: whether the run begins with this state, which no later start needs to keep.

        Raises:
          OSError: the disk has not enough room.
        """
        step = int(state.step)
        if step != self._manager.latest_step():
            saved = _saved_part(state)
            self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(saved)))
            self._manager.save(
                step,
                args=ocp.args.StandardSave(_global(saved)),
                custom_metadata={
                    _STATE: _checksum(saved),
                    _LOG: log_checksum,
                    _EXTRA: 'extra',
                    _STAYS: 'yes' if self._kept.stays(step) and not begins else 'no',
                },
            )

    def begin(self, state: TrainState, log_checksum: str) -> None:
        """Saves the state that a run begins with, and waits until it is on disk.

        From then on the run resumes without what that state was made of.

        Args:
          state: as for `save`.
          log_checksum: as for `save`.
        """
        self.save(state, log_checksum, begins=True)
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _check_room(self, size: int) -> None:
        """Raises OSError if a checkpoint does not fit, because Orbax fails badly on a full disk."""
        # Twice the size, because the last checkpoint may still be being written.
        if shutil.disk_usage(self._folder).free < 2 * size + _SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))

    def _present(self) -> list[int]:
        """Steps of all checkpoint folders, also of damaged ones that Orbax does not list."""
        if not self._folder.is_dir():
            return []
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdigit()]

    def _said_to_stay(self) -> list[int]:
        """Steps whose checkpoints were saved to be kept for good."""
        present = sorted(self._present())
        said = {step: self._checksums(step).get(_STAYS) for step in present}
        # Earlier versions did not say it. Of their checkpoints, all but the newest were kept.
        unsaid = [step for step in present[:-_KEPT] if said[step] is None]
        return [step for step in present if said[step] == 'yes'] + unsaid

    def _read(self, step: int, like: Any, checksums: Mapping[str, str]) -> tuple[dict, str]:
        """The saved part of a state, and why it cannot be used; empty if it can."""
        name = checksums.get(_EXTRA, _EXTRA_AT_FIRST)
        like = _renamed(like, 'extra', name)
        try:
            saved = _local(self._manager.restore(step, args=ocp.args.StandardRestore(like)))
        except Exception as error:  # Damaged files make Orbax and TensorStore raise many kinds.
            return {}, f'cannot be read ({type(error).__name__})'
        intact = _checksum(saved) == checksums[_STATE]
        reason = '' if intact else 'is damaged: its checksum is another'
        return _renamed(saved, name, 'extra'), reason

    def _checksums(self, step: int) -> Mapping[str, str]:
        """The checksums saved with a step; empty if they cannot be read."""
        try:
            return dict(self._manager.metadata(step).custom_metadata)
        except Exception:  # As in `_read`.
            return {}

    def _set_aside(self, refused: Mapping[int, str]) -> None:
        for step, reason in refused.items():
            logging.warning('%s: checkpoint %d %s', self._workdir, step, reason)
        if not refused or self._read_only:
            return

        def move():
            for step in refused:
                aside = _unused(self._workdir / 'damaged' / str(step))
                aside.parent.mkdir(exist_ok=True)
                # `checkpoints` may be a link to another disk.
                shutil.move(self._folder / str(step), aside)
                logging.warning('%s: moved checkpoint %d to %s', self._workdir, step, aside)

        distributed.by_writer(move)
        self._manager.reload()


def _objection(
    step: int, checksums: Mapping[str, str], log_checksum: Callable[[int], str] | None
) -> str:
    """Why the state of a step cannot be used, by its checksums alone; empty if nothing is wrong."""
    if not checksums.keys() >= {_STATE, _LOG}:
        return 'has no checksums'
    # Only process 0 has a log.
    if log_checksum and distributed.is_writer() and log_checksum(step) != checksums[_LOG]:
        return 'does not follow from the log, which is damaged or too short'
    return ''


def _unused(path: Path) -> Path:
    """The path, or the path with the first number that makes it new."""
    count = 1
    while path.exists():
        count += 1
        path = path.with_name(f'{path.name.partition("-")[0]}-{count}')
    return path


def _checksum(saved: dict) -> str:
    """SHA-256 of the names, types and values of all arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(saved):
        digest.update(f'{jax.tree_util.keystr(path)} {array_checksum(np.asarray(leaf))}'.encode())
    return digest.hexdigest()


def _renamed(saved: dict, old: str, new: str) -> dict:
    return {new if name == old else name: value for name, value in saved.items()}


def _saved_part(state: TrainState) -> dict:
    parts = state._asdict().items()
    return {name: value for name, value in parts if name != 'key' and value is not None}


def _global(tree: Any) -> Any:
    """The copies of all processes as one array each, which Orbax writes once."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.host_local_array_to_global_array(tree, _mesh(), PartitionSpec())


def _local(tree: Any) -> Any:
    """The copies of this process."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.global_array_to_host_local_array(tree, _mesh(), PartitionSpec())


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ('devices',))
