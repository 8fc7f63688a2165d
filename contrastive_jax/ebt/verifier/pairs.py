"""Selects pairs of the difficult band of a data set by cosine, without labels.

Axes: n images, m of them anchors, k features, s partners of each.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from contrastive_jax.numerics import check_percentiles, percentile_rank

__all__ = [
    'Pairs',
    'band_pairs',
    'band_ranks',
    'mutual_neighbours',
    'nearest_pairs',
    'thinned',
]

# Anchors at a time.
_BLOCK = 512


class Pairs(NamedTuple):
    """Some partners of each anchor.

    Attributes:
      anchors: `[m]` index of each anchor.
      partners: `[m, s]` indices of its partners.
      cosine: `[m, s]` cosine of each pair, descending along a row.
    """

    anchors: Int[np.ndarray, ' m']
    partners: Int[np.ndarray, 'm s']
    cosine: Float[np.ndarray, 'm s']


def band_ranks(n: int, *, pos_high: float, pos_low: float) -> tuple[int, int]:
    """Ranks, from 0, at which the band of each of `n` images begins, and before which it ends.

    Raises:
      ValueError: the percentiles are out of order, or no pair lies between them.
    """
    check_percentiles(pos_high, pos_low)
    high, low = (percentile_rank(percentile, n - 1) for percentile in (pos_high, pos_low))
    if high == low:
        raise ValueError(
            f'pos_high={pos_high}, pos_low={pos_low}: no pair of {n} images lies between them; '
            'widen the band, or take more images'
        )
    return high, low


def band_pairs(
    unit: Float[np.ndarray, 'n k'],
    anchors: Int[np.ndarray, ' m'],
    *,
    pos_high: float,
    pos_low: float,
    count: int,
) -> Pairs:
    """Selects partners whose ranks are evenly spread over the difficult band of each anchor.

    The band is that of `graph.sample_difficulty`. It holds the cosines after the
    `ceil(pos_high (n-1))`-th largest up to the `ceil(pos_low (n-1))`-th largest.

    Args:
      unit: unit rows `[n, k]`.
      anchors: indices `[m]` of the anchors.
      pos_high: percentile at which the band begins. Percentiles count from the top: 0.1 is the most
        similar tenth.
      pos_low: percentile at which the band ends, from the top too.
      count: number of partners of each anchor; a smaller band gives all of its images.

    Raises:
      ValueError: the percentiles are out of order, or no pair lies between them.
    """
    high, low = band_ranks(len(unit), pos_high=pos_high, pos_low=pos_low)
    return _ranked(unit, anchors, high + _middles(low - high, count))


def thinned(pairs: Pairs, count: int) -> Pairs:
    """Keeps `count` partners of each anchor, with evenly spread ranks."""
    kept = _middles(pairs.partners.shape[1], count)
    return pairs._replace(partners=pairs.partners[:, kept], cosine=pairs.cosine[:, kept])


def _middles(size: int, count: int) -> Int[np.ndarray, ' s']:
    """Indices of the middles of `count` equal parts of `size` items; at most all items."""
    count = min(count, size)
    return np.floor((np.arange(count) + 0.5) * size / count).astype(np.int64)


def nearest_pairs(
    unit: Float[np.ndarray, 'n k'], anchors: Int[np.ndarray, ' m'], count: int
) -> Pairs:
    """Selects the partners with the largest cosines of each anchor.

    Args:
      unit: unit rows `[n, k]`.
      anchors: indices `[m]` of the anchors.
      count: number of partners of each anchor, at most all other images.
    """
    return _ranked(unit, anchors, np.arange(min(count, len(unit) - 1)))


def mutual_neighbours(
    unit: Float[np.ndarray, 'n k'], count: int
) -> tuple[Int[np.ndarray, 'n s'], Bool[np.ndarray, 'n s']]:
    """Indices of the `count` nearest images of each image, and which of them are mutual.

    A neighbour is mutual if the image is also among the nearest images of the neighbour.
    """
    indices = np.arange(len(unit))
    nearest = nearest_pairs(unit, indices, count).partners
    mutual = np.empty(nearest.shape, bool)
    # The neighbours of all neighbours at once would take 8 n s^2 bytes.
    for start in range(0, len(unit), _BLOCK):
        rows = slice(start, start + _BLOCK)
        mutual[rows] = (nearest[nearest[rows]] == indices[rows, None, None]).any(axis=-1)
    return nearest, mutual


def _ranked(
    unit: Float[np.ndarray, 'n k'], anchors: Int[np.ndarray, ' m'], ranks: Int[np.ndarray, ' s']
) -> Pairs:
    """Partners at the given ranks, from 0, of the descending order of cosines."""
    partners, cosines = [], []
    for start in range(0, len(anchors), _BLOCK):
        rows = anchors[start : start + _BLOCK]
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        chosen = np.argsort(-similarity, axis=1, kind='stable')[:, ranks]
        partners.append(chosen)
        cosines.append(np.take_along_axis(similarity, chosen, axis=1))
    return Pairs(anchors, np.concatenate(partners), np.concatenate(cosines))
