"""How features spread over the sphere: measures without labels.

Axes: n samples, k features.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from contrastive_jax.numerics import compiler_sharded, cosines, map_anchors, unit_rows

__all__ = ['alignment', 'effective_rank', 'uniformity']

# The sharpness t of `uniformity`, as in its source.
_SHARPNESS = 2.0


@compiler_sharded
def effective_rank(features: Float[Array, 'n k']) -> Float[Array, '']:
    """Number of directions that the features use (RankMe).

        exp(-sum_i p_i log p_i),  p_i = sigma_i / sum_j sigma_j

    with the singular values `sigma` of the features. The features are not centred.

    Args:
      features: `[n, k]`, any scale.

    Returns:
      Scalar from 1, where all features have one direction, to `min(n, k)`; NaN if all are zero.

    Source: Garrido et al., "RankMe", 2023.
    """
    features = features.astype(jnp.float32)
    # So that squares neither overflow nor vanish.
    largest = jnp.max(jnp.abs(features))
    features = features / jnp.where(largest > 0, largest, 1.0)
    # Eigenvalues of the Gram matrix cost less, but its rounding adds up: a rank of 1 came out as
    # 1.2.
    values = jnp.linalg.svd(features, compute_uv=False)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(values / jnp.sum(values))))


def alignment(first: Float[Array, 'n k'], second: Float[Array, 'n k']) -> Float[Array, '']:
    """Mean squared distance of the directions of two views: `mean_i |u_i - v_i|^2`.

    Args:
      first: `[n, k]` features of the first views, any scale.
      second: `[n, k]` features of the second views.

    Returns:
      Scalar in [0, 4]; 0 if the features do not change with the view.

    Raises:
      ValueError: features of different shapes.

    Source: Wang and Isola, "Understanding contrastive representation learning", 2020.
    """
    if first.shape != second.shape:
        raise ValueError(
            f'first {list(first.shape)}, second {list(second.shape)}: need two views of each sample'
        )
    difference = unit_rows(first) - unit_rows(second)
    return jnp.mean(jnp.sum(jnp.square(difference), axis=1))


@compiler_sharded
def uniformity(features: Float[Array, 'n k']) -> Float[Array, '']:
    """How evenly directions cover the sphere: `log mean_{i != j} exp(-2 |u_i - u_j|^2)`.

    A sample of zeros has no direction, and its u is zero.

    Args:
      features: `[n, k]` of at least two samples, any scale.

    Returns:
      Scalar in [-8, 0]; low = even, 0 if all features have one direction.

    Raises:
      ValueError: fewer than two samples.

    Source: Wang and Isola, "Understanding contrastive representation learning", 2020.
    """
    rows = unit_rows(features)
    n = len(rows)
    if n < 2:
        raise ValueError(f'{n} samples have no pair; need at least two')
    squares = jnp.any(rows != 0, axis=1).astype(jnp.float32)

    def others(anchor):
        index, row = anchor
        # |u - v|^2 = |u|^2 + |v|^2 - 2 cos(u, v), and a length is 1 or 0.
        exponents = -2 * _SHARPNESS * ((squares + squares[index]) / 2 - cosines(rows, row))
        return jax.nn.logsumexp(jnp.where(jnp.arange(n) == index, -jnp.inf, exponents))

    total = jax.nn.logsumexp(map_anchors(others, (jnp.arange(n), rows), n))
    return total - jnp.log(float(n * (n - 1)))
