"""Long-tailed training data: class sizes that decrease exponentially.

Axes: n images, c classes, m images left.
"""

import numpy as np

from contrastive_jax.randomness import Use, host_rng

__all__ = ['long_tail']


def long_tail(labels: np.ndarray, *, factor: float, seed: int) -> np.ndarray:
    """Keeps fewer images of each next class. Of the class with rank k of c it keeps

        m_k = max(1, floor(n_k factor^(-k / (c - 1))))

    The seed draws the ranks of the classes and the order of the images. For equal `n_k` the largest
    class has `factor` times as many images as the smallest. A smaller factor keeps every image that
    a larger factor keeps.

    Args:
      labels: `[n]` classes.
      factor: at least 1.
      seed: seed of both draws.

    Returns:
      `[m]` indices kept, ascending.

    Source of the profile: Cui et al. 2019, "Class-balanced loss".
    """
    rng = host_rng(Use.LONG_TAIL, seed)
    names = rng.permutation(np.unique(labels))
    order = rng.permutation(len(labels))
    kept = []
    for rank, name in enumerate(names):
        members = order[labels[order] == name]
        share = factor ** (-rank / max(len(names) - 1, 1))
        # For the last rank the power may round to just below an integer.
        kept.append(members[: max(1, int(len(members) * share + 1e-9))])
    return np.sort(np.concatenate(kept))
