"""Draws the images that a training step of a verifier compares.

Axes: b anchors, m partners of each (the positive first), s = m - 1 negatives, n images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from contrastive_jax.ebt.verifier.pairs import Pairs

__all__ = ['Draw', 'draw_pairs']

# Number of anchors, and of the negatives of each from its band and from all other images.
_BATCH, _HARD, _RANDOM = 16, 4, 2

# The nearest images of each image, and which of them are mutual neighbours.
NeighbourPairs = tuple[np.ndarray, np.ndarray]


class Draw(NamedTuple):
    """Indices of the images in a step.

    Attributes:
      anchors: `[b]` indices of the anchors.
      positives: `[b]` index of each positive: the anchor itself or a neighbour.
      negatives: `[b, m - 1]` indices of the negatives, those from the band first. Where the band
        has few others than the positive, another image is in its place.
    """

    anchors: Int[np.ndarray, ' b']
    positives: Int[np.ndarray, ' b']
    negatives: Int[np.ndarray, 'b s']


def draw_pairs(
    rng: np.random.Generator, pairs: Pairs, n: int, neighbours: NeighbourPairs | None = None
) -> Draw:
    """Draws anchors, and for each a positive, negatives from its band and other negatives.

    Args:
      rng: generator of random numbers.
      pairs: pairs of the band.
      n: number of images; with neighbours at least 3, as of two none is left for a negative.
      neighbours: neighbours that positives are drawn from, as `pairs.mutual_neighbours` returns
        them. If an anchor has no mutual neighbour, or with None, the positive is the anchor itself.
    """
    size = min(_BATCH, n)
    rows = rng.choice(len(pairs.anchors), size, replace=False)
    anchors = pairs.anchors[rows]
    order = rng.permuted(np.tile(np.arange(pairs.partners.shape[1]), (size, 1)), axis=1)
    others = rng.integers(n - 1, size=(size, _RANDOM))
    others += others >= anchors[:, None]
    positives = _positives(rng, anchors, neighbours)
    partners = np.take_along_axis(pairs.partners[rows], order, axis=1)
    # A neighbour may be in the band, and an image is not positive and negative at once. So it comes
    # last there, and what is still drawn is replaced by the next image.
    last = np.argsort(partners == positives[:, None], axis=1, kind='stable')
    from_band = np.take_along_axis(partners, last, axis=1)[:, :_HARD]
    negatives = np.concatenate([from_band, others], axis=1)
    after = (positives + 1) % n
    after = np.where(after == anchors, (after + 1) % n, after)
    return Draw(
        anchors,
        positives,
        np.where(negatives == positives[:, None], after[:, None], negatives),
    )


def _positives(
    rng: np.random.Generator, anchors: Int[np.ndarray, ' b'], neighbours: NeighbourPairs | None
) -> Int[np.ndarray, ' b']:
    if neighbours is None:
        return anchors
    nearest, mutual = (x[anchors] for x in neighbours)
    column = np.argmax(np.where(mutual, rng.random(mutual.shape), -1.0), axis=1)[:, None]
    drawn = np.take_along_axis(nearest, column, axis=1)[:, 0]
    return np.where(mutual.any(axis=1), drawn, anchors)
