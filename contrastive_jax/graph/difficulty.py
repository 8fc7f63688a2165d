"""How difficult each sample is, from the similarities of a whole data set.

A sample is difficult if its difficult pairs are nearly as similar as the pairs taken to be of one
class. The similarity graph is computed and reduced block by block, and never held as a whole.

Axes: m anchors of this device, n rows of all devices, k features.

Costs for n rows of k features and blocks of B anchors:

- memory of each device beside its features, in 4-byte words: `n k` for the unit rows of all
  devices, as much again for centring and gathering, and up to `5 B n` for a block (cosines, their
  integer keys, masked copies). One million rows of 512 features in blocks of 32 take up to 4.7 GB.
- arithmetic over all devices: `2 n^2 k` for the cosines, `4 * 32 n^2` to count values above both
  thresholds in 32 passes, and about `20 n^2` for the means.
- memory traffic of each device: all unit rows once per block, `4 n k m / B` bytes, and each block
  about 40 times, `160 m n` bytes. The latter comes from the cache if `8 B n` bytes fit in it, as
  they should on a CPU.

Source: Section 5.1, Eq. 12, over a data set instead of a batch; the score is ours.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.graph._inputs import FeatureRows
from contrastive_jax.graph._rows import as_checked, masked_mean, sample_anchors
from contrastive_jax.numerics import (
    check_percentiles,
    compiler_sharded,
    count_true,
    map_anchors,
    order_statistics,
    percentile_rank,
)

__all__ = ['RESOLUTION', 'SampleDifficulty', 'cut', 'sample_difficulty']


class SampleDifficulty(NamedTuple):
    """Difficulty of each sample, and the mean cosines that it is computed from.

    Attributes:
      score: `[m]` in [0, 1], high = difficult.
      alpha: `[m]` mean cosine to its top band, the samples taken to be of its class.
      beta: `[m]` mean cosine to the rest, below both bands.
      gamma: `[m]` mean cosine to its difficult band.
    """

    score: Float[Array, ' m'] | Float[np.ndarray, ' m']
    alpha: Float[Array, ' m'] | Float[np.ndarray, ' m']
    beta: Float[Array, ' m'] | Float[np.ndarray, ' m']
    gamma: Float[Array, ' m'] | Float[np.ndarray, ' m']


# Rounding changes a mean cosine by less than this.
RESOLUTION = 2.0**-20


def sample_difficulty(
    features: FeatureRows,
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

    A cosine equal to a threshold lies above it. The mean of an empty band is its threshold, the
    limit of ever smaller bands: alpha is `Sim_high`, gamma and beta are `Sim_low`, and here `Sim_0`
    counts as 1. The score is 0 where alpha and beta agree to 1e-6, because difficult pairs then do
    not differ from others. This happens for constant features, copies of one sample, and a single
    sample. A centred sample that equals the mean has no direction; rounding decides its score.

    Args:
      features: `[m, k]` encoder features, any scale; under a mapped axis the rows of this device.
      pos_high: percentile at which the band begins, in [0, pos_low]. Percentiles count from the
        top: 0.1 is the most similar tenth. One over the number of classes is a good first guess.
      pos_low: percentile at which the band ends, in [pos_high, 1].
      center: subtract the mean of all rows before taking cosines.
      block_size: anchors at a time; None for `numerics.default_block`.
      axis_name: mapped axis over which the rows are spread, as many on each device; None on one
        device.

    Returns:
      Score, alpha, beta and gamma, each `[m]` float32, without gradient: the score in [0, 1],
      high = difficult, and the mean cosines in [-1, 1] up to rounding.

    Raises:
      ValueError: percentiles out of order, or a block size below 1. Unless the features are traced,
        also a row that is zero or not finite, or no rows.

    Source: Section 5.1, Eq. 12, over a data set; the score is ours.
    """
    check_percentiles(pos_high, pos_low)
    features, n = as_checked(features, axis_name)
    # Ranks are traced, not static, so that other percentiles need no new compilation.
    ranks = [percentile_rank(percentile, n - 1) for percentile in (pos_high, pos_low)]
    return _difficulty(features, ranks, center, block_size, axis_name)


@partial(jax.jit, static_argnames=('center', 'block_size', 'axis_name'))
@compiler_sharded
def _difficulty(features, ranks, center, block_size, axis_name):
    """`sample_difficulty` without its checks, with ranks for percentiles."""
    anchors, rows = sample_anchors(features, center, axis_name)
    n = len(rows)

    def bands(anchor):
        similarity = anchor.masked_similarities(rows)
        return cut(similarity, anchor.others(n), *order_statistics(similarity, ranks))[0]

    return map_anchors(bands, anchors, n, block_size)


def cut(
    similarity: Float[Array, ' n'],
    others: Bool[Array, ' n'],
    high: Float[Array, ''],
    low: Float[Array, ''],
) -> tuple[SampleDifficulty, Bool[Array, ' n'], tuple[Int[Array, ''], ...]]:
    """Difficulty of one anchor whose thresholds are known.

    Args:
      similarity: `[n]` cosines, `-inf` where `others` is False.
      others: `[n]` whether to compare the anchor with this row.
      high: `Sim_posHigh`.
      low: `Sim_posLow`.

    Returns:
      The difficulty, the mask of the difficult band, and how many rows the top band, the difficult
      band and the rest hold.
    """
    top, rest = high <= similarity, others & (similarity < low)
    difficult = others & ~top & ~rest
    top_size, rest_size, difficult_size = count_true([top, rest, difficult])
    alpha = _mean(similarity, top, top_size, high)
    beta = _mean(similarity, rest, rest_size, low)
    gamma = _mean(similarity, difficult, difficult_size, low)
    distance = alpha - beta
    score = jnp.clip((gamma - beta) / jnp.maximum(distance, RESOLUTION), 0, 1)
    score = jnp.where(distance < RESOLUTION, 0.0, score)
    sizes = top_size, difficult_size, rest_size
    return SampleDifficulty(score, alpha, beta, gamma), difficult, sizes


def _mean(
    values: Float[Array, ' n'],
    band: Bool[Array, ' n'],
    size: Int[Array, ''],
    threshold: Float[Array, ''],
) -> Float[Array, '']:
    """Mean of the `size` cosines of a band; the threshold of an empty band, at most 1."""
    mean = masked_mean(values, band, size)
    return jnp.where(size == 0, jnp.minimum(threshold, 1.0), mean)
