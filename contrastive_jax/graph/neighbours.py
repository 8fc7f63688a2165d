"""Whom a sample is mistaken for: its nearest neighbour in the difficult band.

Axes: n samples, m of them asked about, k features.
"""

import numpy as np
from jaxtyping import Int

from contrastive_jax.graph._inputs import Features, check_features, directions
from contrastive_jax.numerics import check_percentiles, percentile_rank

__all__ = ['nearest_difficult']


def nearest_difficult(
    features: Features,
    samples: Int[np.ndarray, ' m'],
    *,
    pos_high: float,
    pos_low: float,
    center: bool = True,
) -> Int[np.ndarray, ' m']:
    """The most similar sample of the difficult band of each sample asked about.

    The band is that of `sample_difficulty`, here in float64 and one sample at a time: meant for the
    tens of samples that a person looks at.

    Args:
      features: `[n, k]`, any scale.
      samples: `[m]` indices.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
        In [0, pos_low].
      pos_low: where it ends, from the top too, in [pos_high, 1].
      center: subtract the mean of all rows before the cosines are taken.

    Returns:
      `[m]` indices; the sample itself where its band is empty.

    Raises:
      ValueError: percentiles out of order; a row that is zero or not finite.
    """
    check_percentiles(pos_high, pos_low)
    check_features(features)
    features = np.asarray(features, np.float64)
    unit = directions(features - features.mean(axis=0) if center else features)
    ranks = [percentile_rank(percentile, len(unit) - 1) for percentile in (pos_high, pos_low)]
    return np.array([_nearest(unit, int(sample), *ranks) for sample in samples], np.int64)


def _nearest(unit: np.ndarray, sample: int, high_rank: int, low_rank: int) -> int:
    similarity = unit @ unit[sample]
    similarity[sample] = -np.inf
    descending = np.sort(similarity)[::-1]
    high, low = (descending[rank - 1] if rank else np.inf for rank in (high_rank, low_rank))
    band = (low <= similarity) & (similarity < high)
    return int(np.argmax(np.where(band, similarity, -np.inf))) if band.any() else sample
