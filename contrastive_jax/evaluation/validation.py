"""Accuracies on a part of the training split, to choose settings without the test split.

Axes: n training samples, m of them to fit on, v of them held out, k features, g regularisation
strengths.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from contrastive_jax.randomness import Use, host_rng

__all__ = ['Validation', 'cross_fitted', 'hold_out']


class Validation(NamedTuple):
    """Accuracies in [0, 1] on held-out training samples, of probes fitted on the others.

    The encoder may have been pre-trained on the held-out images, and by the supervised loss on
    their labels. Compare runs by these numbers; do not take them for test accuracies.

    Attributes:
      linear: accuracy of the linear probe.
      few_label: mean accuracy of the few-label probe over its random draws; None if a class has too
        few samples left for a draw.
      knn: accuracy of the weighted nearest neighbours.
      knn20: accuracy of 20 neighbours with one vote each.
    """

    linear: float
    few_label: float | None
    knn: float
    knn20: float


def hold_out(
    labels: Int[np.ndarray, ' n'], share: float
) -> tuple[Int[np.ndarray, ' m'], Int[np.ndarray, ' v']]:
    """Splits samples into those to fit on and those held out, in proportion within each class.

    The split depends on the labels only, so it is the same for every encoder and seed. The sample
    of a class with one sample is never held out.

    Args:
      labels: class of each sample.
      share: share to hold out, in (0, 0.5]; at least one sample is held out, unless every class has
        only one.

    Returns:
      The indices to fit on, ascending, and the held-out indices, class after class.
    """
    rng = host_rng(Use.VALIDATION, 0)
    classes, counts = np.unique(labels, return_counts=True)
    rows = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in classes])
    single = np.repeat(counts == 1, counts)
    # Every 1 / share-th row, counted across classes, so that small classes get their share too.
    ticks = np.floor(share * np.arange(len(rows) + 1) + rng.random())
    chosen = (np.diff(ticks) > 0) & ~single
    if not chosen.any():
        chosen[np.argmax(np.repeat(counts, counts))] = not single.all()
    return np.sort(rows[~chosen]), rows[chosen]


def cross_fitted(hits: Bool[np.ndarray, 'g v']) -> float:
    """Accuracy on held-out samples with the strength chosen on the other half of them.

    The accuracy of the best strength on the samples that chose it would be a little too high. Here
    each sample is classified with the strength that is most accurate on the other half. No sample
    influences its own classification, all samples count, and nothing is fitted again.

    Args:
      hits: whether each strength, strongest first, classifies each held-out sample correctly. The
        samples of a class are consecutive, so every other sample is a stratified half.

    Returns:
      The share of the samples that are classified correctly, in [0, 1].
    """
    halves = hits[:, ::2], hits[:, 1::2]
    chosen = [int(np.argmax(half.sum(axis=1))) for half in halves]
    correct = sum(
        int(half[strength].sum()) for half, strength in zip(halves, reversed(chosen), strict=True)
    )
    return correct / hits.shape[1]
