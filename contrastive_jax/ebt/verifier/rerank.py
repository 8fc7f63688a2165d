"""k-reciprocal re-ranking, a control: neighbours that know each other.

Axes: n images, k features, p pairs.
Source: Zhong et al. 2017, "Re-ranking person re-identification with k-reciprocal encoding".
"""

import numpy as np
from jaxtyping import Float, Int

__all__ = ['k_reciprocal']

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
    """Similarity of pairs by the neighbours that they share, with a part of their cosine.

        d_ij = (1 - w) (1 - sum_l min(V_il, V_jl) / sum_l max(V_il, V_jl)) + w d_cos

    `V_il = exp(-d_cos)` where i and l are among each other's `k1` nearest, or where the set of
    those was widened by one of them; then averaged over the `k2` nearest.

    Args:
      unit: `[n, k]` directions.
      i: first of each pair.
      j: second of each pair.
      k1: neighbours that must be mutual.
      k2: neighbours that are averaged over.
      weight: w, of the cosine.

    Returns:
      `-d`, high = alike.
    """
    k1, k2 = min(k1, len(unit) - 1), min(k2, len(unit))
    distance = 1 - unit @ unit.T
    order = np.argsort(distance, axis=1, kind='stable')
    whole, half = _mutual(order, k1), _mutual(order, max(1, round(k1 / 2)))
    rows = np.zeros_like(distance)
    for place in range(len(unit)):
        own = whole[place]
        wide = own.copy()
        for other in np.flatnonzero(own):
            if np.sum(half[other] & own) > 2 / 3 * np.sum(half[other]):
                wide |= half[other]
        values = np.exp(-distance[place]) * wide
        rows[place] = values / values.sum()
    rows = np.mean([rows[order[:, place]] for place in range(k2)], axis=0)
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
    """Who is among each other's `k` nearest, oneself included."""
    near = np.zeros(order.shape, bool)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    # Of many copies an image need not be its own nearest.
    np.fill_diagonal(near, True)
    return near & near.T
