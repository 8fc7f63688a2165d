"""alpha, beta, gamma and the share of difficult pairs, measured on real features.

Axes: n images, k features, b anchors of one block, r resamples, s segments of a row.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from contrastive_jax.numerics import (
    check_classes,
    check_not_masked,
    check_percentiles,
    host_unit_rows,
    percentile_rank,
)
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.theory.model import SimilarityModel

__all__ = ['Estimate', 'Interval', 'estimate', 'fitted_model']

# 95 % of a normal distribution lie within so many standard deviations.
_NORMAL = statistics.NormalDist().inv_cdf(0.975)
_LEAST_GAP = 1e-6


class Interval(NamedTuple):
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """The values that `estimate` measures.

    Attributes:
      alpha: mean cosine of pairs of one class, in [-1, 1].
      beta: mean cosine of easy pairs of different classes.
      gamma: mean cosine of difficult pairs of different classes.
      difficult_share: share of difficult pairs among pairs of different classes, in [0, 1].
      ordered: whether `beta < gamma < alpha`.
      message: which part of `0 <= beta < gamma < alpha < 1` fails; empty if all of it holds.
    """

    alpha: Interval
    beta: Interval
    gamma: Interval
    difficult_share: Interval
    ordered: bool
    message: str


def estimate(
    features: Float[Array | np.ndarray, 'n k'],
    labels: Int[Array | np.ndarray, ' n'] | None = None,
    *,
    pos_high: float,
    pos_low: float,
    num_bootstrap: int = 100,
    seed: int = 0,
    block_size: int = 128,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Estimate:
    """Estimates the three values from cosines of features.

    For each image the cosines with the others are put in descending order; `Sim_q` is the
    `ceil(q M)`-th of these M. Without labels a pair, seen from image i, is

      of one class where `s_ij >= Sim_posHigh`, difficult where `Sim_posHigh > s_ij >= Sim_posLow`,
      else easy.

    With labels, the labels say which pairs are of one class, and the upper cut is not used. Without
    labels, `beta < gamma < alpha` holds by construction except for ties, and the share is
    `(pos_low - pos_high) / (1 - pos_high)` up to rounding, so only the values are informative.

    An interval is `value - z s` to `value + z s`, with `z = 1.96`, and `s` the standard deviation
    over resamples of the images. Each resample has its own cuts. Intervals are cut to the range of
    cosines and shares. Pairs of an image with its own copies are left out, so the cuts of a
    resample differ a little from those of the images. Therefore percentiles of the resamples are
    not used: they could leave out the value itself. A resample that lacks a kind of pairs is not
    counted.

    Args:
      features: `[n, k]` features of the encoder, before the projector, not normalised. Centred
        features give other values, because their easy cosines are negative.
      labels: `[n]` class of each image, or None.
      pos_high: percentile at which the band begins, in [0, pos_low]. Percentiles count from the
        top: 0.1 is the most similar tenth. A guide is one over the number of classes.
      pos_low: percentile at which the band ends, in [pos_high, 1].
      num_bootstrap: number of resamples, at least 2. Each costs about `10 n^2`, and the estimate
        itself `n^2 (k + log n)`, so take a few thousand images.
      seed: seed of the resamples.
      block_size: number of images at a time; memory is about `10 block_size n` numbers.
      progress: function that wraps the sequence of blocks, for a progress bar.

    Returns:
      The estimates. No value is clipped: a negative beta stays negative, and `message` says so.

    Raises:
      ValueError: no features, or features that are not finite or zero; labels that are not one
        integer for each; percentiles or counts outside their range; no pair of one of the three
        kinds; or fewer than two resamples with all of them.

    Source: Section 5.1, Eq. 12, for the bands; Section 3.1 for the values.
    """
    check_percentiles(pos_high, pos_low)
    for name, value, least in (('num_bootstrap', num_bootstrap, 2), ('block_size', block_size, 1)):
        if value < least:
            raise ValueError(f'{name}={value}: must be at least {least}')
    check_not_masked('features', features)
    unit = _unit_rows(np.asarray(features, np.float64))
    n = len(unit)
    if labels is not None:
        check_not_masked('labels', labels)
        labels = np.asarray(labels)
        check_classes(labels, n, 'labels')
    # How often each image occurs: once in the images themselves, then in each resample.
    draws = host_rng(Use.BOOTSTRAP, seed).integers(n, size=(num_bootstrap, n))
    times = np.stack([np.ones(n), *(np.bincount(draw, minlength=n) for draw in draws)])
    times = times.astype(np.int32)
    total, count = _band_totals(unit, labels, times, (pos_high, pos_low), block_size, progress)
    if not np.all(count[0]):
        kind = ('one class', 'difficult', 'easy')[int(np.argmin(count[0]))]
        raise ValueError(
            f'no pair counts as {kind!r} with pos_high={pos_high}, pos_low={pos_low} and {n} '
            'images: choose other percentiles, or images of several classes'
        )
    usable = np.all(count, axis=1)
    if np.sum(usable) < 3:
        raise ValueError(f'{n} images: too few, nearly every resample lacks one kind of pairs')
    total, count = total[usable], count[usable]
    values = np.column_stack([total / count, count[:, 1] / (count[:, 1] + count[:, 2])])
    spreads = values[1:].std(axis=0, ddof=1)
    alpha, gamma, beta, share = (
        _interval(float(value), float(spread), least)
        for value, spread, least in zip(values[0], spreads, (-1.0, -1.0, -1.0, 0.0), strict=True)
    )
    ordered = beta.value < gamma.value < alpha.value
    message = _what_fails(alpha.value, beta.value, gamma.value)
    return Estimate(alpha, beta, gamma, share, ordered, message)


def fitted_model(estimated: Estimate, num_classes: int, samples_per_class: int) -> SimilarityModel:
    """The 'block' model with the estimated values: `n_d = n sqrt(difficult share)`, rounded.

    Args:
      estimated: alpha, beta, gamma and the difficult share, as `estimate` returns them.
      num_classes: number `r + 1` of classes of the model, at least 2.
      samples_per_class: number `n` of samples of each class.

    Returns:
      The model, with the values in the middle of the intervals.

    Raises:
      ValueError: an estimate that the theory does not cover.

    Source: ours; in the model of Section 3.1, `(n_d / n)^2` is the share of difficult pairs.
    """
    if estimated.message:
        raise ValueError(f'no model fits: {estimated.message}')
    return SimilarityModel(
        num_classes,
        samples_per_class,
        round(samples_per_class * math.sqrt(estimated.difficult_share.value)),
        estimated.alpha.value,
        estimated.beta.value,
        estimated.gamma.value,
    )


def _unit_rows(rows: Float[np.ndarray, 'n k']) -> Float[np.ndarray, 'n k']:
    """Scales each row to length one; refuses a row without a direction."""
    if rows.ndim != 2 or not rows.size:
        raise ValueError(
            f'features of shape {rows.shape}: need [n, k], a row for each of n > 0 images'
        )
    largest = np.max(np.abs(rows), axis=1)
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if len(bad):
        raise ValueError(
            f'features: {len(bad)} of {len(rows)} rows are zero or not finite, first row {bad[0]}; '
            'a row without a direction has no cosine'
        )
    return host_unit_rows(rows)


def _interval(value: float, spread: float, least: float) -> Interval:
    """The value and its normal interval, cut to [least, 1]."""
    low, high = max(value - _NORMAL * spread, least), min(value + _NORMAL * spread, 1.0)
    # By rounding, a mean of cosines may be above 1.
    return Interval(value, min(low, value), max(high, value))


def _band_totals(unit, labels, times, percentiles, block_size, progress):
    """Sum of cosines and number of pairs of each kind: one class, difficult, easy.

    Each block of cosines is sorted once for all resamples: in a resample an image counts as often
    as it occurs, so a cut is where the running sum of these counts reaches its rank.

    Args:
      unit: `[n, k]` directions.
      labels: `[n]` or None.
      times: `[r, n]` int32, how often each image occurs in each resample.
      percentiles: of both cuts.
      block_size: b.
      progress: wraps the blocks.

    Returns:
      Sums and numbers, each `[r, 3]`.
    """
    n = len(unit)
    # The copies of the image itself are left out, so the rank of a cut depends on their number.
    ranks = [
        np.array([percentile_rank(q, n - copies) for copies in range(int(times.max()) + 1)])
        for q in percentiles
    ]
    total, count = np.zeros((2, len(times), 3))
    for first in progress(range(0, n, block_size)):
        rows = np.arange(first, min(first + block_size, n))
        own = np.arange(len(rows)), rows
        cosine = unit[rows] @ unit.T
        # The cuts tell these pairs apart. Pairs of one class by label are known already.
        free = np.ones(cosine.shape, bool)
        if labels is not None:
            free = labels[rows, None] != labels
            same = ~free
            same[own] = False
            for target, values in ((count, same.astype(float)), (total, same * cosine)):
                target[:, 0] += np.sum(times[:, rows] * (times @ values.T), axis=1)
        free[own] = False
        cosine[own] = -np.inf  # an image comes last in its own order
        order = np.argsort(-cosine, axis=1)
        cosine, free = (np.take_along_axis(x, order, axis=1) for x in (cosine, free))
        ends = _tie_ends(cosine)
        cosine = np.where(free, cosine, 0)
        starts = n * np.arange(len(rows))
        for resample, often in enumerate(times):
            weight, copies = often[order], often[rows]
            reached = np.cumsum(weight, axis=1, dtype=np.int32)
            high, low = (_stop(reached, ends, rank[copies]) for rank in ranks)
            if labels is not None:
                high = 0 * high
            bounds = np.stack([starts, starts + high, starts + low], axis=1)
            count[resample] += copies @ _segment_sums(weight * free, bounds)
            total[resample] += copies @ _segment_sums(weight * cosine, bounds)
    return total, count


def _tie_ends(ordered: Float[np.ndarray, 'b n']) -> Int[np.ndarray, 'b n']:
    """For each entry of a descending row, how many entries are at least as large."""
    n = ordered.shape[1]
    ends = np.full(ordered.shape, n)
    ends[:, :-1] = np.where(ordered[:, :-1] != ordered[:, 1:], np.arange(1, n), n)
    return np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]


def _stop(reached, ends, rank) -> Int[np.ndarray, ' b']:
    """How many entries are at least as large as the one at a rank, `[b]`; none at rank 0."""
    entry = np.sum(reached < rank[:, None], axis=1)
    return np.where(rank == 0, 0, ends[np.arange(len(entry)), entry])


def _segment_sums(values: np.ndarray, bounds: Int[np.ndarray, 'b s']) -> np.ndarray:
    """Sums `[b, s]` of each row between its bounds, which are indices into all rows end to end."""
    starts = bounds.ravel()
    sums = np.add.reduceat(values.ravel(), starts)
    # For an empty segment `reduceat` returns the next value.
    return np.where(np.diff(starts, append=values.size) == 0, 0, sums).reshape(bounds.shape)


def _what_fails(alpha: float, beta: float, gamma: float) -> str:
    """Says which part of `0 <= beta < gamma < alpha < 1` does not hold; empty if all does."""
    failures = []
    # Closer together they are rounding, of features that are equal but for it.
    if abs(alpha - beta) < _LEAST_GAP:
        return f'alpha={alpha:.4g} and beta={beta:.4g} are equal to rounding'
    if beta < 0:
        failures.append(f'beta={beta:.4g} is negative')
    if not beta < gamma:
        failures.append(f'gamma={gamma:.4g} is not above beta={beta:.4g}')
    if not gamma < alpha:
        failures.append(f'alpha={alpha:.4g} is not above gamma={gamma:.4g}')
    if not alpha < 1:
        failures.append(f'alpha={alpha:.4g} is not below 1')
    return '; '.join(failures)
