"""Difficulty from some rows, the landmarks, instead of all, and how wrong it may be.

Every anchor is compared with R of its N = n - 1 others, drawn without replacement. `R + 1` rows are
drawn once for all anchors: an anchor among them leaves itself out, and every other anchor leaves
out the last row. Both ways its R rows are a uniform draw from its own others, and `R = N` is exact.

Two errors are given:

- Guaranteed. By Dvoretzky, Kiefer and Wolfowitz, with Massart's constant, the share of cosines
  above any threshold is wrong by more than `rank_error` with probability at most p, for one
  anchor. So every quantile lies between two quantiles of the landmarks, and integrals over them
  bound the means of the bands. Serfling's factor for draws without replacement is proven for one
  threshold; for all thresholds at once `studies/landmarks.py` checks it. Cosines are taken to
  have no ties.
- Estimated. A band mean is a trimmed mean, whose influence function is the winsorised cosine over
  the share of the band. This includes that the thresholds vary. Its variance over the landmarks,
  carried through the score, costs one pass. A bootstrap would cost hundreds.

Axes: m anchors, r = R + 1 rows that are drawn, R of them compared with an anchor.

Source: Massart, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", 1990; Serfling,
"Probability inequalities for the sum in sampling without replacement", 1974; Tukey and McLaughlin,
"Less vulnerable confidence and significance procedures", 1963; Jaeckel, "The infinitesimal
jackknife", 1972.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.graph.difficulty import RESOLUTION, SampleDifficulty, cut
from contrastive_jax.numerics import percentile_rank
from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'LandmarkDifficulty',
    'Levels',
    'check_landmarks',
    'draw_rows',
    'levels',
    'rank_error',
    'score_anchor',
]

# Of a normal distribution 95 % lie within about two standard errors to each side.
_WIDTH_IN_ERRORS = 4.0


class LandmarkDifficulty(NamedTuple):
    """Estimated difficulty of one anchor with its errors.

    Attributes:
      difficulty: the estimate.
      error: estimated standard error of the score. Where the difficult band or the rest holds no
        landmark, at least a quarter of the width of the guaranteed interval.
      low: lower ends of the guaranteed intervals.
      high: upper ends of the guaranteed intervals.
    """

    difficulty: SampleDifficulty
    error: Float[Array, '*m']
    low: SampleDifficulty
    high: SampleDifficulty


class Levels(NamedTuple):
    """Where the distribution of R cosines is cut; arrays, so that other bands need no compilation.

    Attributes:
      ranks: ranks of the two thresholds, then of each one's upper and lower bound.
      shares: the same as shares of the distribution, counted from the top.
      shift: rank error as a share.
      correction: `1 - R/N`, by which a draw without replacement lowers the variance.
    """

    ranks: Int[np.ndarray, '6'] | Int[Array, '6']
    shares: Float[np.ndarray, '6'] | Float[Array, '6']
    shift: Float[np.ndarray, ''] | Float[Array, '']
    correction: Float[np.ndarray, ''] | Float[Array, '']


def check_landmarks(count: int, n: int) -> None:
    """Raises ValueError unless there are 2 to n - 1 landmarks."""
    is_whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if is_whole and 2 <= count <= n - 1:
        return
    allowed = f'2 to {n - 1}, fewer than the {n} samples' if n > 2 else 'at least three samples'
    kind = '' if is_whole else 'a whole number, '
    raise ValueError(
        f'landmarks={count}: need {kind}{allowed}; leave it out to compare with all of them'
    )


def draw_rows(n: int, count: int, seed: int) -> Int[np.ndarray, ' r']:
    """Draws `count + 1` of n rows without replacement, in random order.

    Args:
      n: number of samples.
      count: number of landmarks R, 2 to n - 1.
      seed: of the draw.

    Returns:
      `[count + 1]` int64, different indices in [0, n).

    Raises:
      ValueError: fewer than 2 landmarks, or more than n - 1.
    """
    check_landmarks(count, n)
    return host_rng(Use.LANDMARKS, seed).choice(n, count + 1, replace=False)


def rank_error(count: int, n: int, p: float = 0.05) -> float:
    """By how much the share of cosines above any threshold may be wrong.

        eps = sqrt((1 - (R - 1) / N) ln(2 / p) / (2 R)),   N = n - 1

    Args:
      count: number of landmarks R.
      n: number of samples.
      p: probability that the error is larger, for each anchor, in (0, 1).

    Returns:
      The error `eps > 0` as a share of the cosines. From 1 on it bounds nothing.
    """
    return math.sqrt((1 - (count - 1) / (n - 1)) * math.log(2 / p) / (2 * count))


def levels(pos_high: float, pos_low: float, count: int, n: int, p: float = 0.05) -> Levels:
    """Ranks among R cosines for thresholds and their bounds.

    Args:
      pos_high: percentile at which the band begins, in [0, pos_low].
      pos_low: percentile at which it ends, in [pos_high, 1].
      count: number of landmarks R.
      n: number of samples.
      p: as in `rank_error`.

    Returns:
      Six int32 ranks in [0, R], six float32 shares in [0, 1], and two float32 scalars.
    """
    shift = rank_error(count, n, p)
    ranks = [percentile_rank(q, count) for q in (pos_high, pos_low)]
    shares = [percentile_rank(q, n - 1) / (n - 1) for q in (pos_high, pos_low)]
    outer = [min(max(share + by, 0.0), 1.0) for share in shares for by in (-shift, shift)]
    ranks += [min(math.ceil(share * count), count) for share in outer]
    return Levels(
        np.array(ranks, np.int32),
        np.array([*shares, *outer], np.float32),
        np.array(shift, np.float32),
        np.array(1 - count / (n - 1), np.float32),
    )


def score_anchor(
    similarity: Float[Array, ' r'],
    others: Bool[Array, ' r'],
    thresholds: Sequence[Float[Array, '']],
    at: Levels,
) -> tuple[LandmarkDifficulty, Bool[Array, ' r']]:
    """Difficulty of one anchor by landmarks, with its errors.

    Args:
      similarity: `[r]` cosines with the rows that were drawn, `-inf` where `others` is False.
      others: `[r]` mask of the R rows to compare the anchor with.
      thresholds: the cosines of the ranks of `at`.
      at: from `levels`.

    Returns:
      The difficulty, and the mask of the difficult band.
    """
    difficulty, band, sizes = cut(similarity, others, *thresholds[:2])
    error = _standard_error(similarity, others, thresholds[:2], difficulty, sizes, at)
    low, high = _bounds(similarity, others, thresholds[2:], at)
    # The mean of an empty band is a quantile, whose variance has no part in the error.
    _, difficult, rest = sizes
    least = (high.score - low.score) / _WIDTH_IN_ERRORS
    empty = (difficult == 0) | (rest == 0)
    known = (at.correction == 0) | (difficulty.alpha - difficulty.beta < RESOLUTION)
    error = jnp.where(empty & ~known, jnp.maximum(error, least), error)
    return LandmarkDifficulty(difficulty, error, low, high), band


def _standard_error(similarity, others, thresholds, difficulty, sizes, at):
    """Standard error of the score from the influence of each landmark on it."""
    high, low = thresholds
    score, alpha, beta, _ = difficulty
    count = jnp.sum(others.astype(jnp.float32))
    weights = [jnp.where(x == 0, 0.0, count / jnp.maximum(x, 1).astype(jnp.float32)) for x in sizes]
    top, difficult, rest = weights
    # The threshold of an empty band is infinite, and its weight is zero.
    high = jnp.where(jnp.isfinite(high), high, 1.0)
    low = jnp.where(jnp.isfinite(low), low, 1.0)
    values = jnp.where(others, similarity, 0.0)
    influence = (
        difficult * jnp.clip(values, low, high)
        - score * top * jnp.maximum(values, high)
        - (1 - score) * rest * jnp.minimum(values, low)
    )
    mean = jnp.sum(jnp.where(others, influence, 0.0)) / count
    square = jnp.sum(jnp.where(others, jnp.square(influence - mean), 0.0)) / (count - 1)
    distance = alpha - beta
    error = jnp.sqrt(at.correction * square / count) / jnp.maximum(distance, RESOLUTION)
    return jnp.where(distance < RESOLUTION, 0.0, error)


def _bounds(similarity, others, thresholds, at):
    """Guaranteed bounds of the difficulty.

    With A(u) the integral of the quantiles of the landmarks over the top share u, the quantiles of
    all others have integrals between `A(u + eps) - A(eps)` and `min(u, eps) + A(u - eps)`,
    because quantiles lie between -1 and 1. A band is a difference of two of them.
    """
    high_up, high_down, low_up, low_down = (
        _integral(similarity, others, share, threshold)
        for share, threshold in zip(at.shares[2:], thresholds, strict=True)
    )
    total = _integral(similarity, others, jnp.float32(1), jnp.float32(-1))
    greatest = jnp.max(similarity)
    least = jnp.min(jnp.where(others, similarity, jnp.inf))
    shift, (q, p) = at.shift, at.shares[:2]
    upper = [
        jnp.minimum(q, shift) + high_up,
        jnp.minimum(p, shift) + low_up,
        # A(1 - eps) is at most this.
        shift + total - shift * least,
    ]
    lower = [
        integral - shift * greatest - jnp.maximum(share + shift - 1, 0.0)
        for integral, share in ((high_down, q), (low_down, p), (total, jnp.float32(1)))
    ]
    highest = jnp.minimum(thresholds[2], 1.0)
    lowest = jnp.where(at.shares[5] >= 1, -1.0, jnp.minimum(thresholds[3], 1.0))
    alpha_high, beta_high, gamma_high = _band_means(upper, q, p, highest)
    alpha_low, beta_low, gamma_low = _band_means(lower, q, p, lowest)
    # The score rises with gamma and falls with alpha and beta.
    nearest, farthest = alpha_low - beta_low, alpha_high - beta_high
    score_high = jnp.where(
        nearest < RESOLUTION, 1.0, (gamma_high - beta_low) / jnp.maximum(nearest, RESOLUTION)
    )
    # Where alpha and beta may agree, the score may be 0.
    score_low = jnp.where(
        alpha_low - beta_high < RESOLUTION,
        0.0,
        (gamma_low - beta_high) / jnp.maximum(farthest, RESOLUTION),
    )
    return (
        SampleDifficulty(jnp.clip(score_low, 0, 1), alpha_low, beta_low, gamma_low),
        SampleDifficulty(jnp.clip(score_high, 0, 1), alpha_high, beta_high, gamma_high),
    )


def _integral(similarity, others, share, threshold):
    """Integral of the quantiles of the landmarks over the top `share`, down to `threshold`."""
    threshold = jnp.where(jnp.isfinite(threshold), threshold, 1.0)
    excess = jnp.where(others, jnp.maximum(similarity - threshold, 0.0), 0.0)
    count = jnp.sum(others.astype(jnp.float32))
    return jnp.where(share <= 0, 0.0, share * threshold + jnp.sum(excess) / count)


def _band_means(integrals, q, p, threshold):
    """Means of the bands from integrals over the top q, the top p and all; of an empty band its
    threshold, where `Sim_0` counts as 1.
    """
    top, both, whole = integrals
    alpha = jnp.where(q > 0, top / jnp.maximum(q, RESOLUTION), 1.0)
    gamma = jnp.where(p > q, (both - top) / jnp.maximum(p - q, RESOLUTION), threshold)
    beta = jnp.where(p < 1, (whole - both) / jnp.maximum(1 - p, RESOLUTION), threshold)
    return tuple(jnp.clip(x, -1, 1) for x in (alpha, beta, gamma))
