"""alpha, beta, gamma and the share of difficult pairs, measured on real features.

Axes: n images, k features, b anchors of one block.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from contrastive_jax.numerics import percentile_rank
from contrastive_jax.theory.model import SimilarityModel

__all__ = ['Estimate', 'Interval', 'estimate', 'fitted_model']


class Interval(NamedTuple):
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """What `estimate` measures.

    Attributes:
      alpha: mean cosine of pairs of one class, in [-1, 1].
      beta: mean cosine of easy pairs of different classes.
      gamma: mean cosine of difficult pairs of different classes.
      difficult_share: difficult pairs among those of different classes, in [0, 1].
      ordered: whether `beta < gamma < alpha`.
      message: empty where the theory's `0 <= beta < gamma < alpha < 1` holds, else what fails.
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
    block_size: int = 1024,
) -> Estimate:
    """Fits the three values to cosines of features.

    For each image the cosines with the others are put in descending order; `Sim_q` is the
    `ceil(q M)`-th of these M. Without labels a pair, seen from image i, is

      of one class where `s_ij >= Sim_posHigh`, difficult where `Sim_posHigh > s_ij >= Sim_posLow`,
      else easy.

    With labels they say which pairs are of one class, and the upper cut, which only guesses that,
    is not used. Without them the order `beta < gamma < alpha` holds by construction, but for ties,
    and the share is `(pos_low - pos_high) / (1 - pos_high)` up to rounding: only the values inform.

    The intervals are the 2.5 and 97.5 percentiles over resamples of the images, with the cuts taken
    anew in each. Pairs of an image with its own copies are left out. A resample without one of the
    three kinds of pairs is not counted.

    Args:
      features: `[n, k]`, not normalised; encoder features, before the projector. Centring them
        first changes the values: it makes the easy cosines negative.
      labels: `[n]` class of each image, or None.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
        In [0, pos_low]; guide: one over the number of classes.
      pos_low: where it ends, from the top too, in [pos_high, 1].
      num_bootstrap: resamples, at least 1. Each costs as much as the estimate, about `n^2 (k + log
        n)`: a few thousand images are enough.
      seed: of the resampling.
      block_size: images at a time; memory is `block_size n`.

    Returns:
      The estimates. Nothing is clipped: a negative beta stays negative, and `message` says so.

    Raises:
      ValueError: features that are not finite or zero, percentiles or counts outside their range,
        or no pair of one of the three kinds.

    Source: Section 5.1, Eq. 12, for the bands; Section 3.1 for the values.
    """
    if not 0 <= pos_high <= pos_low <= 1:
        raise ValueError(
            f'pos_high={pos_high}, pos_low={pos_low}: need 0 <= pos_high <= pos_low <= 1'
        )
    for name, value in (('num_bootstrap', num_bootstrap), ('block_size', block_size)):
        if value < 1:
            raise ValueError(f'{name}={value}: must be at least 1')
    unit = _unit_rows(np.asarray(features, np.float64))
    labels = None if labels is None else np.asarray(labels)
    n = len(unit)

    def values(images):
        total, count = _band_totals(unit, labels, images, pos_high, pos_low, block_size)
        if not np.all(count):
            return None, count
        return np.append(total / count, count[1] / (count[1] + count[2])), count

    found, count = values(np.arange(n))
    if found is None:
        kind = ('one class', 'difficult', 'easy')[int(np.argmin(count))]
        raise ValueError(
            f'no pair counts as {kind!r} with pos_high={pos_high}, pos_low={pos_low} and {n} '
            'images: choose other percentiles, or images of several classes'
        )
    random = np.random.default_rng(seed)
    resamples = (values(random.integers(n, size=n))[0] for _ in range(num_bootstrap))
    resamples = [sample for sample in resamples if sample is not None]
    if not resamples:
        raise ValueError(f'{n} images: too few, every resample lacks one kind of pairs')
    low, high = np.percentile(resamples, (2.5, 97.5), axis=0)
    alpha, gamma, beta, share = (
        Interval(*map(float, ends)) for ends in zip(found, low, high, strict=True)
    )
    ordered = beta.value < gamma.value < alpha.value
    message = _what_fails(alpha.value, beta.value, gamma.value)
    return Estimate(alpha, beta, gamma, share, ordered, message)


def fitted_model(estimated: Estimate, num_classes: int, samples_per_class: int) -> SimilarityModel:
    """The 'block' model with the estimated values: `n_d = n sqrt(difficult share)`, rounded.

    Raises:
      ValueError: an estimate that the theory does not cover.
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
    largest = np.max(np.abs(rows), axis=1)
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if len(bad):
        raise ValueError(
            f'features: {len(bad)} of {len(rows)} rows are zero or not finite, first row {bad[0]}; '
            'a row without a direction has no cosine'
        )
    rows = rows / largest[:, None]  # squares neither overflow nor vanish
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _band_totals(unit, labels, images, pos_high, pos_low, block_size):
    """Sum of cosines and number of pairs of each kind: one class, difficult, easy; each `[3]`."""
    n = len(images)
    total, count = np.zeros(3), np.zeros(3)
    for first in range(0, n, block_size):
        block = slice(first, first + block_size)
        # Of each image once, then repeated: a product with repeated columns may round the copies
        # apart, and a cut would then go through what is equal.
        cosine = (unit[images[block]] @ unit.T)[:, images]  # [b, n]
        other = images[block, None] != images
        ordered = np.sort(np.where(other, cosine, -np.inf), axis=1)[:, ::-1]
        high, low = (
            _at_rank(ordered, percentile, other.sum(axis=1)) for percentile in (pos_high, pos_low)
        )
        same = cosine >= high
        if labels is not None:
            same = labels[images[block], None] == labels[images]
        difficult = ~same & (cosine >= low)
        for kind, pairs in enumerate((same, difficult, ~same & ~difficult)):
            total[kind] += np.sum(cosine, where=pairs & other)
            count[kind] += np.sum(pairs & other)
    return total, count


def _at_rank(ordered, percentile, counts):
    """The `ceil(percentile count)`-th entry of each row, `+inf` at rank 0; `[b, 1]`."""
    distinct, inverse = np.unique(counts, return_inverse=True)
    rank = np.array([percentile_rank(percentile, int(count)) for count in distinct])[inverse, None]
    return np.where(rank == 0, np.inf, np.take_along_axis(ordered, np.maximum(rank - 1, 0), axis=1))


def _what_fails(alpha: float, beta: float, gamma: float) -> str:
    """Says which part of `0 <= beta < gamma < alpha < 1` does not hold; empty if all does."""
    failures = []
    if beta < 0:
        failures.append(f'beta={beta:.4g} is negative')
    if not beta < gamma:
        failures.append(f'gamma={gamma:.4g} is not above beta={beta:.4g}')
    if not gamma < alpha:
        failures.append(f'alpha={alpha:.4g} is not above gamma={gamma:.4g}')
    if not alpha < 1:
        failures.append(f'alpha={alpha:.4g} is not below 1')
    return '; '.join(failures)
