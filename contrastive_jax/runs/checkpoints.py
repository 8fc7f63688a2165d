"""Checkpoints of the training state, by Orbax; each is checked when it is read."""

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

from contrastive_jax.errors import UserError
from contrastive_jax.runs.provenance import array_checksum
from contrastive_jax.runtime import distributed
from contrastive_jax.training.step import TrainState

__all__ = ['Checkpoints']

_KEPT = 2
# Bytes left free beside a checkpoint: for its small files, for logs and for the result.
_SPARE = 2**20
_STATE, _LOG = 'state_sha256', 'log_sha256'


class Checkpoints:
    """The newest states of a run, in `workdir/checkpoints`.

    All processes save and restore together. The key is not saved: it follows from the seed. With
    each state go its checksum and that of the log up to its step.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False):
        """Opens the folder; unless `read_only`, makes it and clears it of half a checkpoint."""
        self._workdir, self._read_only = workdir, read_only
        self._folder = (workdir / 'checkpoints').absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT, create=not read_only, cleanup_tmp_directories=not read_only
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def restore(
        self, state: TrainState, log_checksum: Callable[[int], str] | None = None
    ) -> TrainState:
        """The newest state that is intact, or `state` itself where nothing has been saved.

        Newer ones that are damaged, or that the log does not reach, are moved to `damaged/`.

        Args:
          state: of the run, as the first step takes it.
          log_checksum: of the first steps of the log; None to leave the log alone.

        Raises:
          UserError: there are checkpoints, and none of them is intact.
        """
        like = _global(_saved_part(state))
        refused: dict[int, str] = {}
        for step in sorted(self._present(), reverse=True):
            # One process may see what the others do not, and all must do the same.
            known = self._known(step)
            saved, reason = {}, distributed.first_said(_objection(step, known, log_checksum))
            if not reason:
                saved, reason = self._read(step, like, known)
                reason = distributed.first_said(reason)
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

    def save(self, state: TrainState, log_checksum: str) -> None:
        """Saves a state under its step, in the background; once saved, older ones go.

        Args:
          state: of the run.
          log_checksum: of the log up to the step of the state.

        Raises:
          OSError: there is not enough room for it.
        """
        step = int(state.step)
        if step != self._manager.latest_step():
            saved = _saved_part(state)
            self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(saved)))
            self._manager.save(
                step,
                args=ocp.args.StandardSave(_global(saved)),
                custom_metadata={_STATE: _checksum(saved), _LOG: log_checksum},
            )

    def close(self) -> None:
        """Waits until all is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _check_room(self, size: int) -> None:
        """Raises OSError before Orbax begins what would not fit, which it does not take well."""
        # Twice: the one before may still be in the writing.
        if shutil.disk_usage(self._folder).free < 2 * size + _SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))

    def _present(self) -> list[int]:
        """Steps of the checkpoints, those that Orbax does not take for one too."""
        if not self._folder.is_dir():
            return []
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdigit()]

    def _read(self, step: int, like: Any, known: Mapping[str, str]) -> tuple[dict, str]:
        """What is saved of a step, and why it cannot be used."""
        try:
            saved = _local(self._manager.restore(step, args=ocp.args.StandardRestore(like)))
        except Exception as error:  # Whatever a damaged file makes Orbax and TensorStore raise.
            return {}, f'cannot be read ({type(error).__name__})'
        intact = _checksum(saved) == known[_STATE]
        return saved, '' if intact else 'is damaged: its checksum is another'

    def _known(self, step: int) -> Mapping[str, str]:
        """The checksums saved with a step; none if they cannot be read."""
        try:
            return dict(self._manager.metadata(step).custom_metadata)
        except Exception:  # As above.
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
                (self._folder / str(step)).rename(aside)
                logging.warning('%s: moved checkpoint %d to %s', self._workdir, step, aside)

        distributed.by_writer(move)
        self._manager.reload()


def _objection(
    step: int, known: Mapping[str, str], log_checksum: Callable[[int], str] | None
) -> str:
    """Why the state of a step cannot be used, as far as its checksums tell without reading it."""
    if not known.keys() >= {_STATE, _LOG}:
        return 'has no checksums'
    # The writer alone has a log.
    if log_checksum and distributed.is_writer() and log_checksum(step) != known[_LOG]:
        return 'does not follow from the log, which is damaged or too short'
    return ''


def _unused(path: Path) -> Path:
    count = 1
    while path.exists():
        count += 1
        path = path.with_name(f'{path.name.partition("-")[0]}-{count}')
    return path


def _checksum(saved: dict) -> str:
    """SHA-256 over the names, types and values of all arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(saved):
        digest.update(f'{jax.tree_util.keystr(path)} {array_checksum(np.asarray(leaf))}'.encode())
    return digest.hexdigest()


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
