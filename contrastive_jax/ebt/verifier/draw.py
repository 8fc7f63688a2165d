"""Which images a step of training a verifier compares.

Axes: b anchors, m partners of each (the positive first), n images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from contrastive_jax.ebt.verifier.pairs import Pairs

__all__ = ['Draw', 'draw']

# Anchors; negatives of each out of its band, and out of all other images.
_BATCH, _HARD, _RANDOM = 16, 4, 2

Neighbours = tuple[np.ndarray, np.ndarray] | None


class Draw(NamedTuple):
    """The images of a step.

    Attributes:
      anchors: `[b]`.
      positives: `[b]`, the anchor itself or a neighbour.
      negatives: `[b, m - 1]`, those of the band first.
    """

    anchors: Int[np.ndarray, ' b']
    positives: Int[np.ndarray, ' b']
    negatives: Int[np.ndarray, 'b s']


def draw(rng: np.random.Generator, pairs: Pairs, n: int, neighbours: Neighbours = None) -> Draw:
    """Anchors; of each a positive, negatives out of its band, and some out of all other images.

    Args:
      rng: what draws.
      pairs: of the band.
      n: images.
      neighbours: what `pairs.mutual_neighbours` returns, to draw positives from; None for the
        anchors themselves, which also serve where no neighbour is mutual.
    """
    size = min(_BATCH, n)
    anchors = rng.choice(len(pairs.anchors), size, replace=False)
    hard = min(_HARD, pairs.partners.shape[1])
    order = rng.permuted(np.tile(np.arange(pairs.partners.shape[1]), (size, 1)), axis=1)
    found = np.take_along_axis(pairs.partners[anchors], order[:, :hard], axis=1)
    anchors = pairs.anchors[anchors]
    others = rng.integers(n - 1, size=(size, _RANDOM))
    others += others >= anchors[:, None]
    negatives = np.concatenate([found, others], axis=1)
    return Draw(anchors, _positives(rng, anchors, neighbours), negatives)


def _positives(rng, anchors, neighbours: Neighbours) -> Int[np.ndarray, ' b']:
    if neighbours is None:
        return anchors
    nearest, mutual = (x[anchors] for x in neighbours)
    place = np.argmax(np.where(mutual, rng.random(mutual.shape), -1.0), axis=1)[:, None]
    found = np.take_along_axis(nearest, place, axis=1)[:, 0]
    return np.where(mutual.any(axis=1), found, anchors)
