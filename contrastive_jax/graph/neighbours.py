"""The sample that a sample is most easily confused with: the nearest in its difficult band.

Axes: n samples, m of them queried, k features.
"""

import numpy as np
from jaxtyping import Int

from contrastive_jax.graph._inputs import Features, check_features, unit_rows
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
    """Index of the most similar sample in the difficult band of each queried sample.

    The band is that of `sample_difficulty`, in float64 and one sample at a time. This is meant for
    the tens of samples that a person looks at.

    Args:
      features: `[n, k]`, any scale.
      samples: `[m]` indices.
      pos_high: percentile at which the band begins, in [0, pos_low]. Percentiles count from the
        top: 0.1 is the most similar tenth.
      pos_low: percentile at which the band ends, in [pos_high, 1].
      center: subtract the mean of all rows before taking cosines.

    Returns:
      `[m]` indices; the index of the sample itself where its band is empty.

    Raises:
      ValueError: percentiles out of order; a row that is zero or not finite.
    """
    check_percentiles(pos_high, pos_low)
    check_features(features)
    features = np.asarray(features, np.float64)
    unit = unit_rows(features - features.mean(axis=0) if center else features)
    ranks = [percentile_rank(percentile, len(unit) - 1) for percentile in (pos_high, pos_low)]
    return np.array([_nearest(unit, int(sample), *ranks) for sample in samples], np.int64)


def _nearest(unit: np.ndarray, sample: int, high_rank: int, low_rank: int) -> int:
    similarity = unit @ unit[sample]
    similarity[sample] = -np.inf
    descending = np.sort(similarity)[::-1]
    high, low = (descending[rank - 1] if rank else np.inf for rank in (high_rank, low_rank))
    band = (low <= similarity) & (similarity < high)
    return int(np.argmax(np.where(band, similarity, -np.inf))) if band.any() else sample
