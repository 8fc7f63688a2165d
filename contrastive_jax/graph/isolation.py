"""How much sparser a sample lies than its neighbours: between the classes rather than in one.

Axes: m anchors of this device, n rows of all devices.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from contrastive_jax.graph._inputs import Features
from contrastive_jax.graph._rows import checked, directions
from contrastive_jax.numerics import (
    compiler_sharded,
    cosines,
    count_true,
    map_anchors,
    order_statistics,
    percentile_rank,
)

__all__ = ['isolation']

# A cosine computed again may differ in its last bits from the threshold that it once was.
_SLACK = 2.0**-21


def isolation(
    features: Features,
    *,
    near: float = 0.01,
    center: bool = True,
    block_size: int | None = None,
    axis_name: str | None = None,
) -> Float[Array, ' m']:
    """How much closer the neighbours of a sample are to theirs than it is to them.

    With `N_i` the `ceil(near (n-1))` samples most similar to sample i, ties with the last of them
    included, and `alpha_i` the mean cosine of sample i to them,

        isolation_i = mean_{j in N_i} alpha_j - alpha_i

    A density against that of the neighbourhood, so that a class that is loose as a whole is not
    difficult as a whole. Costs one pass over the graph with one threshold, and one without.

    Args:
      features: `[m, k]` encoder features, any scale; under a mapped axis the rows of this device.
      near: in (0, 1], share of the other samples that counts as the neighbourhood.
      center: subtract the mean of all rows before the cosines are taken.
      block_size: anchors at a time; None for `numerics.default_block`.
      axis_name: mapped axis over which the rows are spread, alike on all; None on one device.

    Returns:
      `[m]` float32 in [-2, 2], high = difficult; 0 for a sample alone. Without gradient.

    Raises:
      ValueError: `near` out of range; and, unless traced, a row that is zero or not finite.

    Source: ours, after the local outlier factor of Breunig et al. 2000, in cosines.
    """
    if not 0 < near <= 1:
        raise ValueError(f'near={near}: need (0, 1], the share of the samples that are neighbours')
    features, n = checked(features, axis_name)
    return _isolation(features, percentile_rank(near, n - 1), center, block_size, axis_name)


@partial(jax.jit, static_argnames=('center', 'block_size', 'axis_name'))
@compiler_sharded
def _isolation(features, rank, center, block_size, axis_name):
    """`isolation` without its checks, the share as a rank."""
    anchors, rows = directions(features, center, axis_name)
    n = len(rows)

    def similarities(anchor):
        return jnp.where(anchor.others(n), cosines(rows, anchor.unit), -jnp.inf)

    def density(anchor):
        similarity = similarities(anchor)
        (threshold,) = order_statistics(similarity, [rank])
        return _mean(similarity, threshold <= similarity), threshold

    alpha, threshold = map_anchors(density, anchors, n, block_size)
    everywhere = alpha
    if axis_name is not None:
        everywhere = lax.all_gather(alpha, axis_name, axis=0, tiled=True)

    def around(inputs):
        anchor, cut = inputs
        return _mean(everywhere, cut - _SLACK <= similarities(anchor))

    return map_anchors(around, (anchors, threshold), n, block_size) - alpha


def _mean(values, chosen):
    """Mean of the chosen values, 0 of none."""
    (size,) = count_true([chosen])
    return jnp.sum(jnp.where(chosen, values, 0.0)) / jnp.maximum(size, 1).astype(jnp.float32)
