"""Long-tailed training data: class sizes that fall off exponentially.

Axes: n images, c classes, m images left.
"""

import numpy as np

from contrastive_jax.randomness import Use, host_rng

__all__ = ['long_tail']


def long_tail(labels: np.ndarray, *, factor: float, seed: int) -> np.ndarray:
    """Keeps fewer and fewer images of each class: of the class in place k of c,

        m_k = max(1, floor(n_k factor^(-k / (c - 1))))

    Classes take their places, and images their turns, by the seed. For equal `n_k` the largest
    class has `factor` times as many images as the smallest. What a large factor keeps, a smaller
    one keeps as well.

    Args:
      labels: `[n]` classes.
      factor: at least 1.
      seed: of both draws.

    Returns:
      `[m]` indices kept, ascending.

    Source: Cui et al. 2019, "Class-balanced loss", for the profile.
    """
    rng = host_rng(Use.LONG_TAIL, seed)
    names = rng.permutation(np.unique(labels))
    order = rng.permutation(len(labels))
    kept = []
    for place, name in enumerate(names):
        members = order[labels[order] == name]
        share = factor ** (-place / max(len(names) - 1, 1))
        # The power of the last place may round to just below its integer.
        kept.append(members[: max(1, int(len(members) * share + 1e-9))])
    return np.sort(np.concatenate(kept))
