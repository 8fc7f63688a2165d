"""k-reciprocal re-ranking, a control: it compares the mutual neighbours of two images.

Axes: n images, k features, p pairs.
Source: Zhong et al. 2017, "Re-ranking person re-identification with k-reciprocal encoding".
"""

import numpy as np
from jaxtyping import Float, Int

__all__ = ['k_reciprocal']

# Pairs at a time.
_BLOCK = 4096


def k_reciprocal(
    unit: Float[np.ndarray, 'n k'],
    i: Int[np.ndarray, ' p'],
    j: Int[np.ndarray, ' p'],
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> Float[np.ndarray, ' p']:
    """Similarity of pairs by the neighbours that both images share, and by their cosine.

        d_ij = (1 - w) (1 - sum_l min(V_il, V_jl) / sum_l max(V_il, V_jl)) + w d_cos

    `V_il = exp(-d_cos)` if i and l are among each other's `k1` nearest images, or if one of these
    adds l to the set of i; otherwise 0. V is normalised, and averaged over the `k2` nearest images.

    Args:
      unit: unit rows `[n, k]`.
      i: index of the first image of each pair.
      j: index of the second image of each pair.
      k1: number of nearest images among which neighbours must be mutual.
      k2: number of nearest images to average over.
      weight: weight w of the cosine distance.

    Returns:
      `-d` of each pair; high values mean similar.
    """
    k1, k2 = min(k1, len(unit) - 1), min(k2, len(unit))
    distance = 1 - unit @ unit.T
    order = np.argsort(distance, axis=1, kind='stable')
    mutual, closer = _mutual(order, k1), _mutual(order, max(1, round(k1 / 2)))
    rows = np.zeros_like(distance)
    for index in range(len(unit)):
        own = mutual[index]
        extended = own.copy()
        for other in np.flatnonzero(own):
            if np.sum(closer[other] & own) > 2 / 3 * np.sum(closer[other]):
                extended |= closer[other]
        values = np.exp(-distance[index]) * extended
        rows[index] = values / values.sum()
    rows = np.mean([rows[order[:, rank]] for rank in range(k2)], axis=0)
    jaccard = np.concatenate(
        [
            1 - np.minimum(a, b).sum(1) / np.maximum(a, b).sum(1)
            for a, b in (
                (rows[i[start : start + _BLOCK]], rows[j[start : start + _BLOCK]])
                for start in range(0, len(i), _BLOCK)
            )
        ]
    )
    return -((1 - weight) * jaccard + weight * distance[i, j])


def _mutual(order: Int[np.ndarray, 'n n'], k: int) -> np.ndarray:
    """Marks the pairs of images that are among each other's `k` nearest, themselves included."""
    near = np.zeros(order.shape, bool)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    # An image with many copies need not be among its own nearest images.
    np.fill_diagonal(near, True)
    return near & near.T
