"""Meshes with explicit axes: inside our functions the compiler chooses the shardings."""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import jax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

__all__ = ['compiler_sharded']

_Arguments = ParamSpec('_Arguments')
_Result = TypeVar('_Result')


def compiler_sharded(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Lets the compiler choose the shardings inside `function`, whatever the axes of the mesh.

    On explicit axes, JAX asks for the sharding of every gather, slice and product that mixes
    sharded dimensions, and an all-pairs comparison consists of little else. Results are replicated
    over these axes. Without explicit axes, `function` is called as it is. Outside of `jit`, a call
    needs `jax.set_mesh`, like most JAX functions on such arrays.

    Args:
      function: function of arrays and of values that `jax.tree` leaves alone.

    Returns:
      The same function of the same arguments.
    """

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        leaves, tree = jax.tree.flatten((args, kwargs))
        arrays = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
        mesh = _mesh(list(arrays.values()))
        if not mesh.explicit_axes:
            return function(*args, **kwargs)

        def with_arrays(arrays):
            current = [arrays.get(i, leaf) for i, leaf in enumerate(leaves)]
            args, kwargs = jax.tree.unflatten(tree, current)
            return function(*args, **kwargs)

        replicated = NamedSharding(mesh, PartitionSpec())
        free = jax.sharding.auto_axes(with_arrays, axes=mesh.explicit_axes, out_sharding=replicated)
        return free(arrays)

    return call


def _mesh(arrays: Sequence[jax.Array]) -> AbstractMesh:
    """The mesh of the context if there is one, else the mesh of the arrays, which may be empty."""
    meshes = [jax.sharding.get_abstract_mesh(), *(jax.typeof(x).sharding.mesh for x in arrays)]
    return next((mesh for mesh in meshes if not mesh.empty), meshes[0])
