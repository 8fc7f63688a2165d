"""Subsets of a data set: sorted indices of the samples to keep, by score, at random, or by SAS.

Axes: n samples, k features; n_k samples of latent class k.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Array, Float, Int

from contrastive_jax.graph._inputs import (
    Classes,
    FeatureRows,
    check_features,
    class_members,
    positive_cosines,
)
from contrastive_jax.numerics import check_classes, check_not_masked, exact_share, host_unit_rows
from contrastive_jax.randomness import Use, host_rng

__all__ = ['most_difficult_removed', 'random_subset', 'sas']


def most_difficult_removed(
    score: Float[Array, ' n'] | Float[np.ndarray, ' n'], ratio: float
) -> Int[np.ndarray, ' kept']:
    """Indices of the samples that remain when those with the highest scores are removed.

    `floor(ratio n)` samples are removed, with the ratio as the decimal that was written: 0.29 of
    100 is 29. Of equal scores, the larger index is removed first. A larger ratio removes every
    sample that a smaller one removes.

    Args:
      score: `[n]`, high = difficult.
      ratio: in [0, 1), the fraction to remove.

    Returns:
      Indices kept, ascending.

    Raises:
      ValueError: a ratio out of range, no samples, a score that is NaN.

    Source: Section 4.1, the removal of difficult samples; the score is ours.
    """
    check_not_masked('score', score)
    score = np.asarray(score)
    if score.ndim != 1:
        raise ValueError(f'score of shape {score.shape}: need [n], one number for each sample')
    kept = _num_kept(len(score), ratio)
    unknown = np.flatnonzero(np.isnan(score))
    if len(unknown):
        raise ValueError(
            f'score: sample {unknown[0]} has NaN ({len(unknown)} such samples); a sample without '
            'a score can be neither kept nor removed, compute the scores again'
        )
    return np.sort(np.argsort(score, kind='stable')[:kept])


def random_subset(n: int, ratio: float, seed: int) -> Int[np.ndarray, ' kept']:
    """Indices of the samples that remain when random samples are removed.

    As many are removed as by `most_difficult_removed`. With the same seed, a larger ratio removes
    every sample that a smaller one removes.

    Args:
      n: number of samples.
      ratio: in [0, 1), the fraction to remove.
      seed: seed of the order in which samples are removed.

    Returns:
      Indices kept, ascending.

    Raises:
      ValueError: a ratio out of range, no samples.

    Source: the control of removal by a score.
    """
    kept = _num_kept(n, ratio)
    return np.sort(host_rng(Use.RANDOM_SUBSET, seed).permutation(n)[:kept])


def sas(
    features: FeatureRows,
    partition: Classes,
    fraction: float,
    objective: Literal['released', 'graph_cut'] = 'released',
) -> Int[np.ndarray, ' kept']:
    """Indices of the samples that represent their latent class best (SAS).

    With `D_ij = max(cos(z_i, z_j), 0)` within a class, including `i = j`, and `D_i` its row sums:

    - `'released'` keeps the largest `D_i`, as the authors' code does.
    - `'graph_cut'` keeps, one at a time, the largest `D_i - 2 sum_{s kept} D_is`, as their paper
      says.

    `floor(fraction n_k)` samples of each class are kept, with the fraction as the decimal that was
    written, so a small class may vanish. Of equal values the larger index is kept. The matrix of
    one class at a time is in memory, `8 n_k^2` bytes.

    Args:
      features: `[n, k]` features of a proxy encoder, any scale.
      partition: `[n]` latent class of each sample: labels, or `scores.latent_classes`.
      fraction: in (0, 1], the fraction to keep.
      objective: `'released'` or `'graph_cut'`.

    Returns:
      Indices kept, ascending.

    Raises:
      ValueError: a partition of another length, a fraction or an objective that is not allowed, no
        class of which anything is kept, a row that is zero or not finite.

    Source: Joshi and Mirzasoleiman, "Data-efficient contrastive self-supervised learning", 2023,
      and its released code.
    """
    check_features(features)
    check_classes(partition, len(features), 'partition')
    if not 0 < fraction <= 1:
        raise ValueError(f'fraction={fraction}: need (0, 1], the fraction of each class to keep')
    if objective not in _OBJECTIVES:
        raise ValueError(f'objective={objective!r}: need one of {sorted(_OBJECTIVES)}')
    unit, classes = host_unit_rows(features), class_members(partition)
    choose = _OBJECTIVES[objective]
    chosen = []
    for members in classes:
        count = math.floor(exact_share(fraction, len(members)))
        chosen.append(members[choose(positive_cosines(unit[members], unit[members]), count)])
    kept = np.sort(np.concatenate(chosen))
    if len(kept) == 0:
        raise ValueError(
            f'fraction={fraction}: keeps no sample of any class, the largest has '
            f'{max(map(len, classes))}; need a larger fraction or fewer classes'
        )
    return kept


def _largest_row_sums(contribution, count):
    """Indices of the `count` largest row sums; of equal ones the larger index."""
    order = np.argsort(contribution.sum(axis=1), kind='stable')
    return order[len(order) - count :]


def _graph_cut(contribution, count):
    """Indices of `count` samples, each the best in addition to those before it."""
    gain = contribution.sum(axis=1)
    indices = np.empty(count, np.int64)
    for step in range(count):
        # Reversed, because argmax returns the first of equal values and we want the last.
        best = len(gain) - 1 - np.argmax(gain[::-1])
        indices[step] = best
        # By symmetry the row equals the column, and a row is contiguous in memory.
        gain -= 2 * contribution[best]
        gain[best] = -np.inf
    return indices


_OBJECTIVES = {'released': _largest_row_sums, 'graph_cut': _graph_cut}


def _num_kept(n: int, ratio: float) -> int:
    """`n - floor(ratio n)`, with the ratio as the decimal that was written; at least one."""
    if n < 1:
        raise ValueError(f'n={n}: need at least one sample')
    if not 0 <= ratio < 1:
        raise ValueError(
            f'ratio={ratio}: need [0, 1), the fraction of the {n} samples to remove; one has to '
            'be left'
        )
    return max(1, n - math.floor(exact_share(ratio, n)))
