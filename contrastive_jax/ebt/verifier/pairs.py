"""Pairs of the difficult band of a data set, chosen by cosine alone, never by labels.

Axes: n images, m of them anchors, k features, s partners of each.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from contrastive_jax.numerics import check_percentiles, percentile_rank

__all__ = ['Pairs', 'band_pairs', 'mutual_neighbours', 'nearest_pairs', 'thinned']

# Anchors whose similarities are held at one time.
_BLOCK = 512


class Pairs(NamedTuple):
    """Some partners of each anchor.

    Attributes:
      anchors: `[m]` index of each anchor.
      partners: `[m, s]` indices of others.
      cosine: `[m, s]`, descending along a row.
    """

    anchors: Int[np.ndarray, ' m']
    partners: Int[np.ndarray, 'm s']
    cosine: Float[np.ndarray, 'm s']


def band_pairs(
    unit: Float[np.ndarray, 'n k'],
    anchors: Int[np.ndarray, ' m'],
    *,
    pos_high: float,
    pos_low: float,
    count: int,
) -> Pairs:
    """Partners evenly spread by rank over the difficult band of each anchor.

    The band is that of `graph.sample_difficulty`, by rank: from the `ceil(pos_high (n-1))`-th
    largest cosine on to the `ceil(pos_low (n-1))`-th.

    Args:
      unit: `[n, k]` directions.
      anchors: `[m]` indices.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
      pos_low: where it ends, from the top too.
      count: partners wanted; all of a smaller band.

    Raises:
      ValueError: percentiles out of order, or no pair between them.
    """
    check_percentiles(pos_high, pos_low)
    high, low = (percentile_rank(percentile, len(unit) - 1) for percentile in (pos_high, pos_low))
    if high == low:
        raise ValueError(
            f'pos_high={pos_high}, pos_low={pos_low}: no pair of {len(unit)} images lies between '
            'them; widen the band'
        )
    size = low - high
    return _ranked(unit, anchors, high + _middles(size, count))


def thinned(pairs: Pairs, count: int) -> Pairs:
    """So many of the partners of each anchor, evenly spread over those there are."""
    kept = _middles(pairs.partners.shape[1], count)
    return pairs._replace(partners=pairs.partners[:, kept], cosine=pairs.cosine[:, kept])


def _middles(size: int, count: int) -> Int[np.ndarray, ' s']:
    """The middles of equal parts, `count` of them or as many as there are places."""
    count = min(count, size)
    return np.floor((np.arange(count) + 0.5) * size / count).astype(np.int64)


def nearest_pairs(
    unit: Float[np.ndarray, 'n k'], anchors: Int[np.ndarray, ' m'], count: int
) -> Pairs:
    """The partners of the largest cosine of each anchor.

    Args:
      unit: `[n, k]` directions.
      anchors: `[m]` indices.
      count: partners wanted; all others where there are fewer.
    """
    return _ranked(unit, anchors, np.arange(min(count, len(unit) - 1)))


def mutual_neighbours(
    unit: Float[np.ndarray, 'n k'], count: int
) -> tuple[Int[np.ndarray, 'n s'], Bool[np.ndarray, 'n s']]:
    """The `count` nearest of each image, and which of them have it among theirs in turn."""
    everyone = np.arange(len(unit))
    nearest = nearest_pairs(unit, everyone, count).partners
    return nearest, (nearest[nearest] == everyone[:, None, None]).any(axis=-1)


def _ranked(unit, anchors, places) -> Pairs:
    """Partners at some places of the descending order."""
    partners, cosines = [], []
    for start in range(0, len(anchors), _BLOCK):
        rows = anchors[start : start + _BLOCK]
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        found = np.argsort(-similarity, axis=1, kind='stable')[:, places]
        partners.append(found)
        cosines.append(np.take_along_axis(similarity, found, axis=1))
    return Pairs(anchors, np.concatenate(partners), np.concatenate(cosines))
