"""Coordinates in which a linear probe is quick to fit.

Axes: n training samples, m test samples, k features, r = min(n, k) coordinates.
"""

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from contrastive_jax.evaluation.blocks import Blocks

__all__ = ['second_moment', 'span', 'standardise', 'whitening_matrix']

_EPSILON = float(np.finfo(np.float32).eps)
# Of the longest axis.
_SHORTEST = 1e-6
_ATTEMPTS = 6
_BLOCK_ROWS = 4096


def standardise(
    train: Float[np.ndarray, 'n k'], test: Float[np.ndarray, 'm k']
) -> tuple[Float[np.ndarray, 'n k'], Float[np.ndarray, 'm k']]:
    """Shifts and scales each feature to mean 0 and standard deviation 1 on the training split.

    A constant feature becomes zero. The results are float32.
    """
    mean, std = _moments(train)
    constant = (std == 0) | (std < 1e-6 * np.abs(mean))
    std = np.where(constant, np.inf, std).astype(np.float32)
    mean = mean.astype(np.promote_types(train.dtype, np.float32))
    results = [(rows - mean).astype(np.float32, copy=False) for rows in (train, test)]
    for rows in results:
        np.divide(rows, std, out=rows)
    return results[0], results[1]


def _moments(
    rows: Float[np.ndarray, 'n k'],
) -> tuple[Float[np.ndarray, ' k'], Float[np.ndarray, ' k']]:
    """Mean and standard deviation of each feature.

    In float64: in float32 the mean of many equal numbers is another number, and a constant feature
    would seem to vary.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    blocks = (rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS))
    squares = sum(np.square(block - mean).sum(axis=0) for block in blocks)
    return mean, np.sqrt(squares / len(rows))


def span(
    train: Float[np.ndarray, 'n k'], test: Float[np.ndarray, 'm k']
) -> tuple[Float[np.ndarray, 'n r'], Float[np.ndarray, 'm r']]:
    """Coordinates of both splits in the span of the training rows, r = min(n, k).

    Directions outside of this span would get no weight. Logistic regression and its penalty are the
    same in these coordinates. With at least as many rows as features, the rows are returned as
    they are.
    """
    if train.shape[1] <= len(train):
        return train, test
    # In float64, because the squares of short axes would vanish in the rounding of float32.
    wide = train.astype(np.float64)
    squares, rows = np.linalg.eigh(wide @ wide.T)
    # An axis of nearly zero length is noise, so its coordinate is set to zero.
    kept = squares > _SHORTEST**2 * squares[-1]
    axes = (wide.T @ rows) * np.where(kept, 1 / np.sqrt(np.where(kept, squares, 1.0)), 0.0)
    return (wide @ axes).astype(np.float32), (test @ axes).astype(np.float32)


@jax.jit
def second_moment(parts: Sequence[Blocks]) -> Float[Array, 'k k']:
    """`X^T X / n` of the samples of all parts."""

    def products(blocks: Blocks) -> Float[Array, 'k k']:
        x = blocks.features
        return jnp.einsum('bdsk,bdsl->kl', x, x, precision='highest')

    count = sum(jnp.sum(blocks.counted) for blocks in parts)
    return reduce(jnp.add, map(products, parts)) / count


def whitening_matrix(
    moment: Float[np.ndarray, 'k k'], l2: float, num_classes: int
) -> Float[np.ndarray, 'k k']:
    """Matrix P with `P^T (moment / c + l2 I) P = I`, upper triangular.

    With all weights zero, every class has probability 1/c, and the bracket is the curvature of the
    probe's objective along the weights of a class. In weights `P v` it is 1 in every direction. A
    fit then needs tens of steps, where raw pixels would need many hundreds. P comes from a Cholesky
    factor in float64: no eigenvectors, and no rotated copy of the features.

    The moment is a sum in float32, so its smallest eigenvalues may come out below zero. `l2` is
    raised here by the rounding error of the largest one, and tenfold as long as that is not enough.
    Directions that the moment does not resolve are then scaled too little, and take more steps.

    Args:
      moment: what `second_moment` returns, finite.
      l2: L2 strength of the probe, above 0.
      num_classes: number c of classes.

    Returns:
      `[k, k]` float32, upper triangular.

    Raises:
      numpy.linalg.LinAlgError: the matrix is not positive definite at the sixth attempt either.
      ValueError: a moment that is not finite.
    """
    # Imported here: it would take a seventh of the time of all imports of a command that fits none.
    import scipy.linalg

    k = len(moment)
    curvature = moment.astype(np.float64) / num_classes
    least = l2 + _EPSILON * np.trace(curvature)
    for attempt in range(_ATTEMPTS):
        try:
            factor = scipy.linalg.cholesky(curvature + least * np.eye(k), lower=True)
            break
        except np.linalg.LinAlgError:
            if attempt == _ATTEMPTS - 1:
                raise
            least *= 10
    # A third of the operations that solving for every column of the identity would take.
    inverse, _ = scipy.linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
    return inverse.T.astype(np.float32)
