"""Coordinates in which a linear probe is quick to fit.

Axes: n training samples, m test samples, k features.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jaxtyping import Array, Float

from contrastive_jax.evaluation.rows import Rows

__all__ = ['second_moment', 'span', 'standardise', 'whitening']

_EPSILON = float(np.finfo(np.float32).eps)


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts and scales each feature to mean 0 and standard deviation 1 on the training split.

    A constant feature becomes zero.
    """
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std < 1e-6 * np.abs(mean) + 1e-12, np.inf, std)
    results = train - mean, test - mean
    for rows in results:
        rows /= std
    return results


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
    one, other = _in_span(train, test)
    return np.asarray(one), np.asarray(other)


@jax.jit
def _in_span(
    train: Float[Array, 'n k'], test: Float[Array, 'm k']
) -> tuple[Float[Array, 'n n'], Float[Array, 'm n']]:
    dot = partial(jnp.matmul, precision='highest')
    squares, rows = jnp.linalg.eigh(dot(train, train.T))
    # An axis of nearly zero length is noise, so its coordinate is set to zero.
    kept = squares > 1e-6 * squares[-1]
    inverse = jnp.where(kept, lax.rsqrt(jnp.where(kept, squares, 1.0)), 0.0)
    axes = dot(train.T, rows) * inverse[None]
    return dot(train, axes), dot(test, axes)


@jax.jit
def second_moment(parts: Sequence[Rows]) -> Float[Array, 'k k']:
    """`X^T X / n` of the rows of all parts."""

    def products(rows: Rows) -> Float[Array, 'k k']:
        x = rows.features
        return jnp.einsum('dbsk,dbsl->kl', x, x, precision='highest')

    count = sum(jnp.sum(rows.counted) for rows in parts)
    return reduce(jnp.add, map(products, parts)) / count


def whitening(
    moment: Float[np.ndarray, 'k k'], l2: float, num_classes: int
) -> Float[np.ndarray, 'k k']:
    """Matrix P with `P^T (moment / c + l2 I) P = I`, upper triangular.

    With all weights zero, every class has probability 1/c, and the bracket is the curvature of the
    probe's objective along the weights of a class. In weights `P v` it is 1 in every direction. A
    fit then needs tens of steps, where raw pixels would need many hundreds. P comes from a Cholesky
    factor in float64: no eigenvectors, and no rotated copy of the features.

    Args:
      moment: what `second_moment` returns.
      l2: L2 strength of the probe.
      num_classes: number c of classes.
    """
    k = len(moment)
    # The moment is a float32 sum, so its smallest eigenvalues may come out a little below zero.
    least = l2 + _EPSILON * np.trace(moment) / num_classes
    curvature = moment.astype(np.float64) / num_classes + least * np.eye(k)
    factor = scipy.linalg.cholesky(curvature, lower=True, overwrite_a=True, check_finite=False)
    # A third of the operations that solving for every column of the identity would take.
    inverse, _ = scipy.linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
    return inverse.T.astype(np.float32)
