"""k-nearest-neighbour classification by cosine.

Axes: n training samples, t test samples, k features, c classes.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from contrastive_jax.numerics import cosines, kth_largest, map_anchors, unit_rows

__all__ = ['knn_predict']


@partial(jax.jit, static_argnames=('num_classes', 'neighbours', 'temperature', 'block_size'))
def knn_predict(
    features: Float[Array, 'n k'],
    labels: Int[Array, ' n'],
    queries: Float[Array, 't k'],
    *,
    num_classes: int,
    neighbours: int,
    temperature: float | None = None,
    block_size: int | None = None,
) -> Int[Array, ' t']:
    """Class with the most votes among the nearest training samples.

    A neighbour of cosine `s` has `exp(s / temperature)` votes, or one vote without temperature. No
    sort: the cosine of the last neighbour is found exactly, and what ties with it votes too.

    Args:
      features: `[n, k]` of the training split.
      labels: `[n]` in 0 .. num_classes - 1.
      queries: `[t, k]` of the test split.
      num_classes: c.
      neighbours: at most n count.
      temperature: above 0, or None.
      block_size: queries at a time; None for `numerics.default_block`.

    Returns:
      `[t]`; of equal votes the smallest class.

    Source: Wu et al. 2018.
    """
    rows = unit_rows(features)
    members = jax.nn.one_hot(labels, num_classes)
    rank = min(neighbours, len(rows))

    def predict(query):
        similarity = cosines(rows, query)
        near = similarity >= kth_largest(similarity, rank)
        # Relative to the largest cosine, 1, so that no temperature overflows.
        votes = 1.0 if temperature is None else jnp.exp((similarity - 1) / temperature)
        return jnp.argmax(jnp.where(near, votes, 0.0) @ members)

    return map_anchors(predict, unit_rows(queries), len(rows), block_size)
