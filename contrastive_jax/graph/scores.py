"""Other scores of how difficult a sample is, to compare with `sample_difficulty`.

In all of them a high value means a difficult sample, which is removed first.

Axes: n samples, m of them, k features, c classes.
"""

import numpy as np
from jaxtyping import Float, Int

from contrastive_jax.graph._inputs import (
    Classes,
    FeatureRows,
    check_features,
    class_members,
    positive_cosines,
)
from contrastive_jax.graph.difficulty import RESOLUTION
from contrastive_jax.numerics import check_classes, check_not_masked, host_unit_rows
from contrastive_jax.randomness import Use, host_rng, legacy_rng

__all__ = [
    'boundary',
    'class_margin',
    'latent_classes',
    'margin_rows',
    'random',
    'sas_score',
    'supervised_margin',
]

# Number of samples whose similarities to their class are in memory at a time.
_BLOCK = 1024
# Cosines of samples to means of classes that are in memory at a time: 64 MiB.
_MARGIN_COSINES = 2**23


def latent_classes(features: FeatureRows, num_classes: int, seed: int) -> Int[np.ndarray, ' n']:
    """Classes from mini-batch k-means on the unit rows, for data without labels.

    Args:
      features: `[n, k]`, any scale.
      num_classes: 1 to n.
      seed: seed of the first centres and of the batches.

    Returns:
      `[n]` integers in [0, num_classes).

    Raises:
      ValueError: more classes than samples, a row that is zero or not finite.

    Source: Sculley, "Web-scale k-means clustering", 2010.
    """
    check_features(features)
    if not 1 <= num_classes <= len(features):
        raise ValueError(
            f'num_classes={num_classes}: need 1 to {len(features)}, the number of samples'
        )
    # Imported here, because it takes a second and few commands need it.
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        num_classes, random_state=legacy_rng(Use.LATENT_CLASSES, seed), n_init=3
    )
    return means.fit_predict(host_unit_rows(features)).astype(np.int64)


def sas_score(features: FeatureRows, partition: Classes) -> Float[np.ndarray, ' n']:
    """Score of how little a sample contributes to its latent class.

        score_i = 1 - mean_j max(cos(z_i, z_j), 0)

    over the `n_k` samples of its class, including itself. SAS keeps the samples with the largest
    contribution, which is `n_k (1 - score_i)`. So this score removes first what SAS keeps last.

    Args:
      features: `[n, k]`, any scale.
      partition: `[n]` latent class of each sample: labels, or `latent_classes`.

    Returns:
      `[n]` float64 in [0, 1); 0 for a sample alone in its class.

    Raises:
      ValueError: a partition of another length, a row that is zero or not finite.

    Source: Joshi and Mirzasoleiman, "Data-efficient contrastive self-supervised learning", 2023.
    """
    check_features(features)
    check_classes(partition, len(features), 'partition')
    unit = host_unit_rows(features)
    score = np.empty(len(unit))
    for members in class_members(partition):
        rows = unit[members]
        # A class of k-means can be most of the data, so its matrix is computed in blocks.
        for start in range(0, len(rows), _BLOCK):
            similarity = positive_cosines(rows[start : start + _BLOCK], rows)
            # By rounding, the mean of ones can exceed one.
            score[members[start : start + _BLOCK]] = np.maximum(1 - similarity.mean(axis=1), 0)
    return score


def boundary(
    difficulty: Float[np.ndarray, ' n'], isolation: Float[np.ndarray, ' n']
) -> Float[np.ndarray, ' n']:
    """Mean rank of a sample by difficulty and by isolation, as a share of n.

        score_i = (rank of difficulty_i + rank of isolation_i) / (2 n)

    Each score finds samples that the other misses: `sample_difficulty` finds samples whose
    difficult band is close, `isolation` finds samples outside of all clusters. Values that
    round to the same multiple of `difficulty.RESOLUTION` share their mean rank.

    Args:
      difficulty: `[n]` the score of `sample_difficulty`.
      isolation: `[n]` the score of `isolation`.

    Returns:
      `[n]` in (0, 1].

    Raises:
      ValueError: not two arrays `[n]`, or a value that is no number.

    Source: ours. It found more of the mixed images than either score alone (docs/results).
    """
    # Imported here, because it takes half a second.
    from scipy.stats import rankdata

    check_not_masked('difficulty', difficulty)
    check_not_masked('isolation', isolation)
    both = np.asarray(difficulty, np.float64), np.asarray(isolation, np.float64)
    if both[0].ndim != 1 or both[0].shape != both[1].shape or np.isnan(both).any():
        raise ValueError(
            f'difficulty {list(both[0].shape)}, isolation {list(both[1].shape)}: need two arrays '
            '[n] without NaN'
        )
    # Otherwise the rounding of equal values would be ranked.
    ranks = [rankdata(np.round(values / RESOLUTION)) for values in both]
    return np.add(*ranks) / (2 * len(both[0]))


def supervised_margin(features: FeatureRows, labels: Classes) -> Float[np.ndarray, ' n']:
    """Score of how much closer a sample is to another class than to the rest of its own.

        score_i = max_{c != y_i} cos(z_i, mu_c) - cos(z_i, mu_{y_i} without i)

    `mu_c` is the mean unit row of class c, after the mean of all samples is subtracted. A sample
    with a positive score is closer to another class. Without the sample in its own mean, the sample
    does not count as evidence for itself. No classifier has to be fitted or tuned.

    Args:
      features: `[n, k]`, any scale.
      labels: `[n]` class of each sample, at least two classes.

    Returns:
      `[n]` float64 in [-2, 2]. The cosine with a zero mean is 0, for example with a class of one
      sample without that sample.

    Raises:
      ValueError: labels of another length or of one class, a row that is zero or not finite.

    Source: ours, from the nearest-mean classifier with each sample left out of its own mean.
    """
    check_features(features)
    check_classes(labels, len(features), 'labels')
    names, class_of = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f'labels: all are {names[0]}; a margin needs at least two classes')

    features = np.asarray(features, np.float64)
    unit = host_unit_rows(features - features.mean(axis=0))
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, class_of, unit)
    return class_margin(unit, class_of, sums)


def class_margin(
    unit: Float[np.ndarray, 'm k'], class_of: Int[np.ndarray, ' m'], sums: Float[np.ndarray, 'c k']
) -> Float[np.ndarray, ' m']:
    """The margin of some samples, from the sums over the classes of all samples.

    Args:
      unit: `[m, k]` directions of these samples.
      class_of: `[m]` their classes, rows of `sums`.
      sums: `[c, k]` sum of the directions of each class, these samples included.

    Returns:
      `[m]` as `supervised_margin`.

    Source: ours; the definition is that of `supervised_margin`.
    """
    means, size = host_unit_rows(sums), margin_rows(len(sums))
    margin = np.empty(len(unit))
    for start in range(0, len(unit), size):
        rows, classes = unit[start : start + size], class_of[start : start + size]
        own = np.sum(rows * host_unit_rows(sums[classes] - rows), axis=1)
        margin[start : start + size] = _nearest_other(rows, classes, means) - own
    return margin


def _nearest_other(unit, class_of, means):
    similarity = unit @ means.T
    similarity[np.arange(len(unit)), class_of] = -np.inf
    return similarity.max(axis=1)


def margin_rows(num_classes: int) -> int:
    """Number of samples whose cosines to all classes `class_margin` has in memory at a time."""
    return max(1, _MARGIN_COSINES // num_classes)


def random(n: int, seed: int) -> Float[np.ndarray, ' n']:
    """Random scores as a control.

    Args:
      n: number of samples, at least 1.
      seed: the same seed gives the same scores.

    Returns:
      `[n]`, uniform in [0, 1).

    Raises:
      ValueError: no sample.

    Source: ours.
    """
    if n < 1:
        raise ValueError(f'n={n}: need at least one sample')
    return host_rng(Use.RANDOM_SCORE, seed).random(n)
