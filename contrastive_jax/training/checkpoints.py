"""Checkpoints of the training state, by Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

from contrastive_jax.training.step import TrainState

__all__ = ['Checkpoints']

_KEPT = 2


class Checkpoints:
    """The newest states of a run, in `workdir/checkpoints`.

    All processes save and restore together. The key is not saved: it follows from the seed.
    """

    def __init__(self, workdir: Path):
        """Opens the folder; makes it where there is none."""
        options = ocp.CheckpointManagerOptions(max_to_keep=_KEPT, create=True)
        self._manager = ocp.CheckpointManager((workdir / 'checkpoints').absolute(), options=options)

    def restore(self, state: TrainState) -> TrainState:
        """The newest saved state, or `state` itself where nothing has been saved."""
        step = self._manager.latest_step()
        if step is None:
            return state
        like = _global(_saved_part(state))
        saved = self._manager.restore(step, args=ocp.args.StandardRestore(like))
        return state._replace(**_local(saved))

    def save(self, state: TrainState) -> None:
        """Saves a state under its step, in the background; once saved, older ones go."""
        step = int(state.step)
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(_global(_saved_part(state))))

    def close(self) -> None:
        """Waits until all is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


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
