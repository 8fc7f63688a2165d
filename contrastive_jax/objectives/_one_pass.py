"""Mean of a function over anchors, whose forward pass computes the gradient as well.

Reverse mode would keep the similarities of all anchors, or compute each block of them again. Here a
block of anchors computes its part of the gradient while its similarities are there.

Axes: m anchors, n rows that they are compared with.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from contrastive_jax.numerics import blocks_of, map_anchors

__all__ = ['mean_with_gradient']


def mean_with_gradient(
    function: Callable[[Any, Any, Any, Any], tuple[Float[Array, ''], Any]],
    common: Any,
    anchors: Any,
    per_anchor: Any,
    shared: Any,
    n: int,
    block_size: int | None,
) -> tuple[Float[Array, ''], Any]:
    """Mean of the first result of a function over the anchors, and its other results.

    The gradient flows to the floating-point arrays in `common` and `anchors`. `function` must not
    close over anything that needs a gradient.

    Args:
      function: takes `common`, one anchor, its entry of `per_anchor`, and `shared`. Returns a
        scalar and a tree of statistics, which have no gradient.
      common: tree of arrays and numbers that all anchors use.
      anchors: tree of arrays `[m, ...]`.
      per_anchor: tree of arrays `[m, ...]` without gradient.
      shared: tree of arrays that all anchors use, without gradient.
      n: number of rows that an anchor is compared with.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The mean, and the statistics stacked to `[m, ...]`.

    Raises:
      ValueError: a block size below 1.
    """
    m = len(jax.tree.leaves(anchors)[0])
    # From here on `common` and `anchors` are the leaves that can have a gradient.
    common, common_rest, join_common = _split_by_gradient(common)
    anchors, anchors_rest, join_anchor = _split_by_gradient(anchors)
    one = _one_like(anchors[0])
    common = [leaf * one.astype(leaf.dtype) for leaf in common]

    def of_anchor(common, anchor, fixed, shared):
        rest, own = fixed
        return function(join_common(common, common_rest), join_anchor(anchor, rest), own, shared)

    @jax.custom_vjp
    def mean(common, anchors, fixed, shared):
        def of_inputs(inputs):
            anchor, own = inputs
            return of_anchor(common, anchor, own, shared)

        values, statistics = map_anchors(of_inputs, (anchors, fixed), n, block_size)
        return jnp.mean(values), statistics

    def forward(common, anchors, fixed, shared):
        def block(common, anchors, fixed):
            in_axes = (None, 0, 0, None)
            values, statistics = jax.vmap(of_anchor, in_axes)(common, anchors, fixed, shared)
            return jnp.sum(values), (values, statistics)

        gradient = jax.value_and_grad(block, argnums=(0, 1), has_aux=True)

        def step(total, inputs):
            (_, results), (of_common, of_anchors) = gradient(common, *inputs)
            return jax.tree.map(jnp.add, total, of_common), (results, of_anchors)

        one = _one_like(anchors[0])
        zeros = [jnp.zeros_like(leaf) * one.astype(leaf.dtype) for leaf in common]
        of_common, ((values, statistics), of_anchors) = blocks_of(
            step, zeros, (anchors, fixed), n, block_size
        )
        return (jnp.mean(values), statistics), (of_common, of_anchors)

    def backward(gradients, cotangents):
        scale = cotangents[0] / m
        of_common, of_anchors = jax.tree.map(lambda gradient: scale * gradient, gradients)
        return of_common, of_anchors, None, None

    mean.defvjp(forward, backward)
    return mean(common, anchors, (anchors_rest, per_anchor), shared)


def _split_by_gradient(tree: Any) -> tuple[list, list, Callable[[list, list], Any]]:
    """Leaves that can have a gradient, the other leaves, and a function that joins both again."""
    leaves, structure = jax.tree.flatten(tree)
    floating = [isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves]

    def join(with_gradient, rest):
        parts = {True: iter(with_gradient), False: iter(rest)}
        return jax.tree.unflatten(structure, [next(parts[kind]) for kind in floating])

    with_gradient, rest = (
        [x for x, kind in zip(leaves, floating, strict=True) if kind == wanted]
        for wanted in (True, False)
    )
    return with_gradient, rest, join


def _one_like(array: Float[Array, ' m *rest']) -> Float[Array, '']:
    """A one that `shard_map` takes to differ between devices, if the array does.

    A product with it is of that kind as well. Its gradient inside is then that of one device, and
    `shard_map` sums it over the devices outside. The compiler removes the product.
    """
    return jnp.where(array.ravel()[0] > 0, 1.0, 1.0)
