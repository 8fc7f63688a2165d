"""Runs a step on many devices: each device holds the whole state and a part of the batch.

This is the only module that maps over devices. A mapped step covers the devices of all processes.
Each process passes and receives the arrays of its own devices.
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


def map_over_devices(step: Callable, *, donate: bool = True) -> Callable:
    """Maps `step(state, batch)` over all devices.

    Args:
      step: function that also takes `axis_name`; its results are the same on every device.
      donate: whether the memory of the old state goes to the new one, and the compiler options of a
        training step apply. False for functions that only read the state.

    Returns:
      A function of a state and of a batch whose arrays are `[devices, ...]`. It returns what `step`
      returns on one device, without an axis of devices. With `donate`, the state that it took
      cannot be used again.
    """
    mapped = jax.pmap(
        partial(step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0 if donate else (),
    )
    if not donate:
        return mapped
    # `pmap` accepts no compiler options. `jit` accepts them, but with several processes it does
    # not accept the arrays of one process.
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
    """Copies arrays to every device of this process, in the layout that a mapped step returns.

    With a state on one device, the step would be compiled twice: once for that state and once for
    the state that it returns. The step donates the copy. Without a copy, the first device would
    share the memory of the original.
    """
    return jax.device_put(jax.tree.map(jnp.copy, tree), _sharding(PartitionSpec()))


def split(tree: Any) -> Any:
    """Spreads arrays `[devices, ...]` over the devices of this process, one slice each."""
    return jax.device_put(tree, _sharding(PartitionSpec(AXIS)))


def _sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)
