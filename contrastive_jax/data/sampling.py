"""A sample that stands for a whole data set.

Axes: n samples, m of them drawn.
"""

import numpy as np

from contrastive_jax.randomness import Use, host_rng

__all__ = ['representative']


def representative(
    n: int, count: int, labels: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Draws samples at random and, where labels are known, as many of each class as its share.

    The j-th sample drawn of a class with `n_c` members has the rank

        0 for j = 0, else (j + 1/2) / n_c

    and the samples with the `count` lowest ranks are taken. So every class is in the sample where
    `count` allows it, and the other places are shared out as seats are by Sainte-Laguë.

    Args:
      n: number of samples.
      count: number of samples to draw; all where there are fewer.
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
    turn = np.empty(n, np.int64)
    by_class = np.argsort(class_of, kind='stable')
    turn[by_class] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank = np.where(turn == 0, 0, (turn + 0.5) / sizes[class_of])
    # Stable: samples of equal rank stay in their random order.
    return np.sort(order[np.argsort(rank, kind='stable')[:count]])
