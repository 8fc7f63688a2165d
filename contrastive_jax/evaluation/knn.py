"""k-nearest-neighbour classification by cosine.

Axes: n training samples, t test samples, k features, c classes.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from contrastive_jax.numerics import (
    compiler_sharded,
    cosines,
    map_anchors,
    order_statistics,
    unit_rows,
)

__all__ = ['Rule', 'knn_predict']


class Rule(NamedTuple):
    """Which neighbours vote, and with what weight.

    Attributes:
      neighbours: number of nearest training samples that vote, capped at n.
      temperature: a neighbour with cosine `s` has weight `exp(s / temperature)`; None for equal
        weights.
    """

    neighbours: int
    temperature: float | None = None


@partial(jax.jit, static_argnames=('num_classes', 'rules', 'block_size'))
@compiler_sharded
def knn_predict(
    features: Float[Array, 'n k'],
    labels: Int[Array, ' n'],
    queries: Float[Array, 't k'],
    *,
    num_classes: int,
    rules: tuple[Rule, ...],
    block_size: int | None = None,
) -> tuple[Int[Array, ' t'], ...]:
    """Class with the most votes among the nearest training samples, by each rule.

    The exact cosine of the last neighbour is found without a sort, and ties with it vote too. The
    cosines are computed once for all rules.

    Args:
      features: `[n, k]` of the training split.
      labels: `[n]` in 0 .. num_classes - 1.
      queries: `[t, k]` of the test split.
      num_classes: c.
      rules: which neighbours vote, for each prediction.
      block_size: queries at a time; None for `numerics.default_block`.

    Returns:
      `[t]` for each rule; of equal votes, the smallest class.

    Source: Wu et al. 2018.
    """
    rows = unit_rows(features)
    n = len(rows)
    members = jax.nn.one_hot(labels, num_classes)

    def predict(query):
        similarity = cosines(rows, query)
        last = order_statistics(similarity, [min(rule.neighbours, n) for rule in rules])
        return tuple(
            jnp.argmax(jnp.where(similarity >= cut, _votes(similarity, rule), 0.0) @ members)
            for cut, rule in zip(last, rules, strict=True)
        )

    return map_anchors(predict, unit_rows(queries), n, block_size)


def _votes(similarity: Float[Array, ' n'], rule: Rule) -> Float[Array, ' n']:
    if rule.temperature is None:
        return jnp.ones_like(similarity)
    # Relative to the largest possible cosine, 1, so that no temperature overflows.
    return jnp.exp((similarity - 1) / rule.temperature)
