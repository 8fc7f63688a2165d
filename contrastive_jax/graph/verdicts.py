"""Why a sample is difficult: a verdict for each sample, with its evidence.

Axes: n samples, c neighbours, l classes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from contrastive_jax.graph.difficulty import RESOLUTION

__all__ = [
    'NEIGHBOURS',
    'VERDICTS',
    'Verdicts',
    'judge',
    'label_margin',
    'label_suspects',
    'robust_z',
]

# In rising priority: the verdict of a sample is the last one that applies.
VERDICTS = ('easy', 'between classes', 'outlier', 'label suspect', 'near-duplicate')
# Nearest samples whose labels are compared.
NEIGHBOURS = 20
# Above this robust score a value is an outlier (Iglewicz and Hoaglin 1993).
_FAR = 3.5
# Margins lie in [-1, 1], so where they are wide none reaches 3.5. Leys et al. (2013) recommend 2.5.
_FAR_MARGIN = 2.5
# A smaller deviation is rounding: of numbers in float64, and of cosines in float32.
_LEAST, _LEAST_COSINE = 1e-30, RESOLUTION
# Share of the samples that count as difficult.
_HARDEST = 0.2


class Verdicts(NamedTuple):
    """A verdict for each sample, and the evidence.

    Attributes:
      verdict: `[n]` index into `VERDICTS`.
      duplicate_z: `[n]` robust score of the similarity to the nearest sample, high = duplicate.
      outlier_z: `[n]` robust score of the isolation, high = outlier.
      label_margin: `[n]` as `label_margin` returns it; NaN without labels.
      label_z: `[n]` robust score of the margin, high = suspect; NaN without labels.
    """

    verdict: Int[np.ndarray, ' n']
    duplicate_z: Float[np.ndarray, ' n']
    outlier_z: Float[np.ndarray, ' n']
    label_margin: Float[np.ndarray, ' n']
    label_z: Float[np.ndarray, ' n']


def judge(
    score: Float[np.ndarray, ' n'],
    isolation: Float[np.ndarray, ' n'],
    similarity: Float[np.ndarray, ' n'],
    nearest: Int[np.ndarray, 'n c'],
    labels: Int[np.ndarray, ' n'] | None = None,
) -> Verdicts:
    """Names for each sample the most specific reason why it is difficult.

    - near-duplicate: `robust_z(artanh(similarity)) > 3.5`;
    - label suspect: as `label_suspects` says;
    - outlier: `robust_z(isolation) > 3.5`;
    - between classes: none of these, and the score is among the `round(n / 5)` highest, without
      ties at the lower end (`graph.dynamics.hardest` takes `ceil(n / 5)` and includes ties);
    - easy: everything else.

    All thresholds come from the distribution over the samples, so there is nothing to set. Where
    features do not separate the classes, or more than a third of the labels are wrong, the margins
    are wide, and few labels are suspects or none.

    Args:
      score: `[n]` difficulty, high = difficult.
      isolation: `[n]` isolation, high = far from all clusters.
      similarity: `[n]` cosine of the nearest sample.
      nearest: `[n, c]` indices of the nearest samples, see `graph.neighbours`.
      labels: `[n]` class of each sample, -1 where it is not known; None without labels.

    Returns:
      Five columns `[n]`: the verdict, an int64 index into `VERDICTS`, and the evidence in float64.
    """
    inside = np.clip(similarity.astype(np.float64), 1e-7 - 1, 1 - 1e-7)
    duplicate = robust_z(np.arctanh(inside), _LEAST_COSINE)
    outlier = robust_z(isolation, _LEAST_COSINE)
    margin = np.full(len(score), np.nan) if labels is None else label_margin(nearest, labels)
    margin_z, known = np.full(len(score), np.nan), ~np.isnan(margin)
    if known.any():
        margin_z[known] = robust_z(margin[known])
    verdict = np.zeros(len(score), np.int64)
    verdict[_above_the_rest(score)] = VERDICTS.index('between classes')
    verdict[outlier > _FAR] = VERDICTS.index('outlier')
    verdict[label_suspects(margin, margin_z)] = VERDICTS.index('label suspect')
    verdict[duplicate > _FAR] = VERDICTS.index('near-duplicate')
    return Verdicts(verdict, duplicate, outlier, margin, margin_z)


def _above_the_rest(score: Float[np.ndarray, ' n']) -> Bool[np.ndarray, ' n']:
    """Whether each score is among the highest fifth and above all that are not.

    The fifth is `round(n / 5)` scores. Those that equal the highest one outside are left out, so at
    most `round(n / 5)` are True. `graph.dynamics.hardest` has another rule: it rounds up and
    includes ties, so at least `ceil(n / 5)` are True.
    """
    count = round(_HARDEST * len(score))
    return score > np.sort(score)[len(score) - count - 1]


def robust_z(values: Float[np.ndarray, ' n'], least: float = _LEAST) -> Float[np.ndarray, ' n']:
    """Distance of each value from the median, in robust standard deviations.

        z_i = 0.6745 (x_i - median) / median_j |x_j - median|
        z_i = (x_i - median) / (1.2533 mean_j |x_j - median|)

    The second form is used where the median distance is zero, that is, where more than half of the
    values are equal. Both denominators estimate the standard deviation of a normal distribution.
    Values that are all equal, up to rounding, have z = 0.

    Args:
      values: `[n]` finite numbers.
      least: a smaller denominator is rounding.

    Returns:
      `[n]` float64.

    Source of the first form: Iglewicz and Hoaglin, "How to detect and handle outliers", 1993.
    """
    away = values.astype(np.float64) - np.median(values)
    distance = np.abs(away)
    scale = np.median(distance) / 0.6745
    if scale < least:
        scale = np.sqrt(np.pi / 2) * np.mean(distance)
    return away / scale if scale >= least else np.zeros_like(away)


def label_suspects(
    margin: Float[np.ndarray, ' n'], z: Float[np.ndarray, ' n']
) -> Bool[np.ndarray, ' n']:
    """Which labels are suspect: the margin is above 0, and its robust z is above 2.5.

    Args:
      margin: `[n]` as `label_margin` returns it.
      z: `[n]` robust score of the margins.

    Returns:
      `[n]` bool, True where the label is suspect. It is False where the margin is NaN.

    Source: for the threshold Leys et al., "Detecting outliers: do not use standard deviation around
    the mean, use absolute deviation around the median", 2013.
    """
    return (margin > 0) & (z > _FAR_MARGIN)


def label_margin(
    nearest: Int[np.ndarray, 'n c'], labels: Int[np.ndarray, ' n']
) -> Float[np.ndarray, ' n']:
    """How clearly the neighbours of each sample speak for another class than its label.

    With `p_il` the share of class l among the neighbours of sample i, `t_l` the mean of `p_il` over
    the samples of class l, and y_i the label of sample i:

        margin_i = max over l != y_i with p_il >= t_l of  p_il - p_iy, else min(p_il - p_iy, 0)

    So a margin above 0 needs a class that is as common among the neighbours as it is among those of
    its own samples: the rule of confident learning, with neighbours in place of a classifier.

    Args:
      nearest: `[n, c]` indices of the nearest samples.
      labels: `[n]` class of each sample; -1 where it is not known.

    Returns:
      `[n]` in [-1, 1]; NaN for a sample without a label.

    Source: Northcutt, Jiang and Chuang, "Confident learning", 2021.
    """
    known, codes = np.unique(labels[labels >= 0], return_inverse=True)
    own = np.full(len(labels), -1)
    own[labels >= 0] = codes
    margin = np.full(len(labels), np.nan)
    # Class by class, so that ten thousand classes need no array [n, l].
    shares = np.zeros(len(labels))
    rows = np.flatnonzero(own >= 0)
    shares[rows] = (own[nearest[rows]] == own[rows, None]).mean(axis=1)
    usual = np.array([shares[own == code].mean() for code in range(len(known))])
    for row in rows:
        seen, counts = np.unique(own[nearest[row]], return_counts=True)
        other = (seen >= 0) & (seen != own[row])
        if not other.any():
            margin[row] = -shares[row]
            continue
        share = counts[other] / nearest.shape[1]
        ahead = share - shares[row]
        enough = share >= usual[seen[other]]
        margin[row] = ahead[enough].max() if enough.any() else min(float(ahead.max()), 0.0)
    return margin
