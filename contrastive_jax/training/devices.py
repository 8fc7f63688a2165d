"""How a step runs on many devices: the state on each of them, the batch split between them.

The only module that maps over devices. A mapped step covers the devices of all processes, and takes
and returns what lies on those of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from contrastive_jax.runtime.compilation import step_options

__all__ = ['AXIS', 'map_over_devices', 'map_over_local', 'replicate', 'split']

AXIS = 'devices'


def map_over_devices(step: Callable) -> Callable:
    """Maps `step(state, batch)` over all devices; the state that goes in is donated."""
    mapped = jax.pmap(
        partial(step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
    )
    # `pmap` takes no options of the compiler, and `jit` no arrays of one process among many.
    options = step_options() if jax.process_count() == 1 else {}
    return jax.jit(mapped, donate_argnums=0, compiler_options=options) if options else mapped


def map_over_local(
    function: Callable, in_axes: tuple[int | None, ...], donate: tuple[int, ...] = ()
) -> Callable:
    """Maps a function over the devices of this process alone; other processes need not call it.

    Args:
      function: called on each device with its own slice.
      in_axes: for each argument 0 if it is `[devices, ...]`, or None if each device gets all.
      donate: arguments whose memory the results may take.

    Returns:
      A function whose results are `[devices, ...]`.
    """
    devices = jax.local_devices()
    return jax.pmap(
        function, axis_name=AXIS, in_axes=in_axes, devices=devices, donate_argnums=donate
    )


def replicate(tree: Any) -> Any:
    """Copies arrays to every device of this process, as a mapped step returns its state.

    A state that lies on one device would compile the step twice: for itself, and for what comes
    back. The copy is the step's to donate; without one, the first device would share the original.
    """
    return jax.device_put(jax.tree.map(jnp.copy, tree), _sharding(PartitionSpec()))


def split(tree: Any) -> Any:
    """Spreads arrays `[devices, ...]` over the devices of this process, one slice each."""
    return jax.device_put(tree, _sharding(PartitionSpec(AXIS)))


def _sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)
