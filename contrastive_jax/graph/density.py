"""Density around a sample: a sample in a sparser place than its neighbours lies between classes.

Axes: m anchors of this device, n rows of all devices.
"""

from functools import partial

import jax
from jaxtyping import Array, Float

from contrastive_jax.graph._inputs import FeatureRows
from contrastive_jax.graph._rows import GraphAnchors, as_checked, chosen_mean, sample_anchors
from contrastive_jax.numerics import (
    COSINE_SLACK,
    compiler_sharded,
    gather,
    map_anchors,
    order_statistics,
    percentile_rank,
)

__all__ = ['NEAR', 'isolation']

# Share of the others that is the neighbourhood of a sample.
NEAR = 0.01


def isolation(
    features: FeatureRows,
    *,
    near: float = NEAR,
    center: bool = True,
    block_size: int | None = None,
    axis_name: str | None = None,
) -> Float[Array, ' m']:
    """Score of how much closer the neighbours of a sample are to their own neighbours than it is.

    With `N_i` the `ceil(near (n-1))` samples most similar to sample i, including ties with the last
    of them, and `alpha_i` the mean cosine of sample i to them,

        isolation_i = mean_{j in N_i} alpha_j - alpha_i

    The density of a sample is compared with that of its neighbourhood, so that a sparse class is
    not difficult as a whole. Costs two passes over the graph, the first with one threshold.

    Args:
      features: `[m, k]` encoder features, any scale; under a mapped axis the rows of this device.
      near: in (0, 1], share of the other samples that form the neighbourhood.
      center: subtract the mean of all rows before taking cosines.
      block_size: anchors at a time; None for `numerics.default_block`.
      axis_name: mapped axis over which the rows are spread, as many on each device; None on one
        device.

    Returns:
      `[m]` float32 in [-2, 2], high = difficult; 0 for a single sample. No gradient.

    Raises:
      ValueError: `near` out of range, or a block size below 1. Unless the features are traced,
        also a row that is zero or not finite, or no rows.

    Source: ours, after the local outlier factor of Breunig et al. 2000, in cosines.
    """
    if not 0 < near <= 1:
        raise ValueError(f'near={near}: need (0, 1], the share of the samples that are neighbours')
    features, n = as_checked(features, axis_name)
    return _isolation(features, percentile_rank(near, n - 1), center, block_size, axis_name)


@partial(jax.jit, static_argnames=('center', 'block_size', 'axis_name'))
@compiler_sharded
def _isolation(features, rank, center, block_size, axis_name):
    """`isolation` without its checks, with a rank for the share."""
    anchors, rows = sample_anchors(features, center, axis_name)
    n = len(rows)

    def density(anchor: GraphAnchors):
        similarity = anchor.masked_similarities(rows)
        (threshold,) = order_statistics(similarity, [rank])
        return chosen_mean(similarity, threshold <= similarity), threshold

    alpha, threshold = map_anchors(density, anchors, n, block_size)
    densities = gather(alpha, axis_name)

    def around(inputs):
        anchor, threshold = inputs
        return chosen_mean(densities, threshold - COSINE_SLACK <= anchor.masked_similarities(rows))

    return map_anchors(around, (anchors, threshold), n, block_size) - alpha
