"""k-reciprocal re-ranking, a control: it compares the mutual neighbours of two images.

Axes: n images, k features, p pairs, b images with a set, m nearest images of each.
Source: Zhong et al. 2017, "Re-ranking person re-identification with k-reciprocal encoding".
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

__all__ = ['k_reciprocal']

# Images at a time.
_BLOCK = 512


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

    Sets are sparse: memory grows with n and p, not with n^2.

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
    n = len(unit)
    k1, k2 = min(k1, n - 1), min(k2, n)
    inner = max(1, round(k1 / 2))
    order = _nearest(unit, max(k1, inner, k2) + 1)
    mutual, closer = _mutual(order[:, : k1 + 1]), _mutual(order[:, : inner + 1])
    images, pair = np.unique(np.concatenate([i, j]), return_inverse=True)
    # V of an image needs the sets of its nearest images, and no others.
    needed, averaged = np.unique(order[images, :k2], return_inverse=True)
    sets = _weights(unit, needed, _extended(mutual[needed], closer))
    # Sums instead of means, because the ratio below does not depend on the scale.
    rows = _marks(averaged.reshape(-1, k2), len(needed)).astype(unit.dtype) @ sets
    first, second = rows[pair[: len(i)]], rows[pair[len(i) :]]
    jaccard = 1 - first.minimum(second).sum(axis=1) / first.maximum(second).sum(axis=1)
    distance = 1 - np.sum(unit[i] * unit[j], axis=1)
    return -((1 - weight) * jaccard + weight * distance)


def _nearest(unit: Float[np.ndarray, 'n k'], count: int) -> Int[np.ndarray, 'n m']:
    """Indices of the `count` images nearest to each image, itself included, nearest first."""
    nearest = np.empty((len(unit), min(count, len(unit))), np.int64)
    for start in range(0, len(unit), _BLOCK):
        rows = slice(start, start + _BLOCK)
        order = np.argsort(1 - unit[rows] @ unit.T, axis=1, kind='stable')
        nearest[rows] = order[:, :count]
    return nearest


def _marks(members: Int[np.ndarray, 'b m'], n: int) -> csr_array:
    """Sparse matrix `[b, n]` with a 1 at the members of each row."""
    starts = np.arange(len(members) + 1) * members.shape[1]
    return csr_array(
        (np.ones(members.size, np.int64), members.ravel(), starts), shape=(len(members), n)
    )


def _mutual(nearest: Int[np.ndarray, 'n m']) -> csr_array:
    """Marks the images that are among each other's `nearest`, themselves included."""
    n = len(nearest)
    # An image with many copies need not be among its own nearest images.
    near = _marks(nearest, n).maximum(_marks(np.arange(n)[:, None], n))
    return near.multiply(near.T)


def _extended(own: csr_array, closer: csr_array) -> csr_array:
    """Adds to each set the closer set of a member if more than two thirds of that are in it.

    Args:
      own: `[b, n]` marks of the sets.
      closer: `[n, n]` marks of the closer sets; symmetric.
    """
    shared = (own @ closer).multiply(own).tocoo()
    sizes = closer.sum(axis=1)
    joins = shared.data > 2 / 3 * sizes[shared.col]
    added = csr_array((shared.data[joins], (shared.row[joins], shared.col[joins])), own.shape)
    return own + added @ closer


def _weights(
    unit: Float[np.ndarray, 'n k'], images: Int[np.ndarray, ' b'], sets: csr_array
) -> csr_array:
    """Weights `exp(-d_cos)` of the members of the set of each image, normalised: `[b, n]`."""
    data = np.empty(sets.nnz, unit.dtype)
    for index, image in enumerate(images):
        row = slice(sets.indptr[index], sets.indptr[index + 1])
        values = np.exp(unit[sets.indices[row]] @ unit[image] - 1)
        data[row] = values / values.sum()
    return csr_array((data, sets.indices, sets.indptr), sets.shape)
