"""Some samples of a data set: which represent it, and where they are.

Axes: n samples, m of them drawn.
"""

import numpy as np

from contrastive_jax.randomness import Use, host_rng

__all__ = ['representative', 'rows_of']


def representative(
    n: int, count: int, labels: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Draws samples at random; if labels are known, in proportion to the class sizes.

    The j-th sample drawn of a class with `n_c` members has the rank

        0 for j = 0, else (j + 1/2) / n_c

    and the samples with the `count` lowest ranks are taken. So every class is in the sample if
    `count` allows it, and the rest is apportioned by the method of Sainte-Laguë.

    Args:
      n: number of samples.
      count: number of samples to draw; all samples if there are fewer.
      labels: `[n]` class of each sample, or None.
      seed: seed of the draw.

    Returns:
      `[m]` indices, ascending, `m = min(n, count)`.
    """
    if count >= n:
        return np.arange(n)
    order = host_rng(Use.MEASURED_SAMPLE, seed).permutation(n)
    if labels is None:
        return np.sort(order[:count])
    _, class_of, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    position = np.empty(n, np.int64)
    by_class = np.argsort(class_of, kind='stable')
    position[by_class] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank = np.where(position == 0, 0, (position + 0.5) / sizes[class_of])
    # A stable sort keeps samples of equal rank in their random order.
    return np.sort(order[np.argsort(rank, kind='stable')[:count]])


def rows_of(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted index is among the known ones.

    Args:
      known: `[m]` indices, each once, at least one.
      wanted: `[n]` indices.

    Returns:
      `[n]` positions in `known`; -1 for an index that is not there.
    """
    order = np.argsort(known)
    after = np.searchsorted(known, wanted, sorter=order)
    rows = order[np.minimum(after, len(order) - 1)]
    return np.where(known[rows] == wanted, rows, -1)
