"""How difficult each sample is, from the similarities of a whole data set.

A sample is difficult where its difficult pairs are nearly as similar as those taken for its class.
Each row of the similarity graph is made, cut and summed before the next ones: the graph is never
held as a whole.

Axes: m anchors of this device, n rows of all devices, k features.

What it costs, for n rows of k features and blocks of B anchors:

- memory of each device beside its features, in 4-byte words: `n k` for the directions of all rows,
  as much again while it centres and gathers, and up to `5 B n` for a block (cosines, their
  integer keys, masked copies). One million rows of 512 features in blocks of 32: 4.5 GB.
- arithmetic over all devices: `2 n^2 k` for the cosines, `4 * 32 n^2` to count above both
  thresholds in 32 passes, about `20 n^2` for the means.
- traffic of each device: all directions once a block, `4 n k m / B` bytes, and a block about 40
  times, `160 m n` bytes: from the cache where `8 B n` bytes fit in it, as they should on a CPU.

Source: Section 5.1, Eq. 12, over a data set instead of a batch; the score is ours.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.graph._inputs import Features
from contrastive_jax.graph._rows import checked, directions
from contrastive_jax.numerics import (
    check_percentiles,
    compiler_sharded,
    cosines,
    count_true,
    map_anchors,
    order_statistics,
    percentile_rank,
)

__all__ = ['SampleDifficulty', 'sample_difficulty']


class SampleDifficulty(NamedTuple):
    """Difficulty of each sample and the mean cosines that it comes from.

    Attributes:
      score: `[m]` in [0, 1], high = difficult.
      alpha: `[m]` mean cosine to the others of its top band.
      beta: `[m]` mean cosine to the rest, below both bands.
      gamma: `[m]` mean cosine to its difficult band.
    """

    score: Float[Array, ' m']
    alpha: Float[Array, ' m']
    beta: Float[Array, ' m']
    gamma: Float[Array, ' m']


# Rounding alone moves a mean cosine by less than this.
_RESOLUTION = 2.0**-20


def sample_difficulty(
    features: Features,
    *,
    pos_high: float,
    pos_low: float,
    center: bool = True,
    block_size: int | None = None,
    axis_name: str | None = None,
) -> SampleDifficulty:
    """Difficulty of each sample among all others of its data set.

    With `s_ij` the cosine of samples i and j, and `Sim_q` the `ceil(q (n-1))`-th largest of the
    `n - 1` cosines of sample i (`+inf` for q = 0):

        alpha_i = mean of s_ij over Sim_high <= s_ij
        gamma_i = mean of s_ij over Sim_low <= s_ij < Sim_high
        beta_i  = mean of s_ij over s_ij < Sim_low
        score_i = (gamma_i - beta_i) / (alpha_i - beta_i)

    Ties with a threshold lie above it. The mean of an empty band is its threshold, the limit of
    ever smaller bands: alpha is `Sim_high`, gamma and beta are `Sim_low`, and here `Sim_0` counts
    as 1. The score is 0 where the bands are alike to 1e-6, for nothing then tells a difficult pair
    from another: constant features, copies of one sample, a sample that is the mean, one sample.

    Args:
      features: `[m, k]` encoder features, any scale; under a mapped axis the rows of this device.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
        In [0, pos_low]; guide: one over the number of classes.
      pos_low: where it ends, from the top too, in [pos_high, 1].
      center: subtract the mean of all rows before the cosines are taken.
      block_size: anchors at a time; None for `numerics.default_block`.
      axis_name: mapped axis over which the rows are spread, alike on all; None on one device.

    Returns:
      Score, alpha, beta and gamma, each `[m]` float32, without gradient.

    Raises:
      ValueError: percentiles out of order, a block below 1; and, unless traced, a row that is zero
        or not finite, no rows.

    Source: Section 5.1, Eq. 12, over a data set; the score is ours.
    """
    check_percentiles(pos_high, pos_low)
    features, n = checked(features, axis_name)
    # Traced, not static: other percentiles compile nothing anew.
    ranks = [percentile_rank(percentile, n - 1) for percentile in (pos_high, pos_low)]
    return _difficulty(features, ranks, center, block_size, axis_name)


@partial(jax.jit, static_argnames=('center', 'block_size', 'axis_name'))
@compiler_sharded
def _difficulty(features, ranks, center, block_size, axis_name):
    """`sample_difficulty` without its checks, percentiles as ranks."""
    anchors, rows = directions(features, center, axis_name)
    n = len(rows)

    def bands(anchor):
        others = anchor.others(n)
        similarity = jnp.where(others, cosines(rows, anchor.unit), -jnp.inf)
        high, low = order_statistics(similarity, ranks)
        top, rest = high <= similarity, others & (similarity < low)
        difficult = others & ~top & ~rest
        top_size, rest_size, difficult_size = count_true([top, rest, difficult])
        alpha = _mean(similarity, top, top_size, high)
        beta = _mean(similarity, rest, rest_size, low)
        gamma = _mean(similarity, difficult, difficult_size, low)
        distance = alpha - beta
        score = jnp.clip((gamma - beta) / jnp.maximum(distance, _RESOLUTION), 0, 1)
        return SampleDifficulty(jnp.where(distance < _RESOLUTION, 0.0, score), alpha, beta, gamma)

    return map_anchors(bands, anchors, n, block_size)


def _mean(
    values: Float[Array, ' n'],
    band: Bool[Array, ' n'],
    size: Int[Array, ''],
    threshold: Float[Array, ''],
) -> Float[Array, '']:
    """Mean of the `size` cosines of a band, or its threshold."""
    total = jnp.sum(jnp.where(band, values, 0.0))
    mean = total / jnp.maximum(size, 1).astype(jnp.float32)
    return jnp.where(size == 0, jnp.minimum(threshold, 1.0), mean)
