"""k-nearest-neighbour classification by cosine.

Axes: n training samples, t test samples, k features, c classes.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from contrastive_jax.evaluation.blocks import Blocks
from contrastive_jax.numerics import (
    compiler_sharded,
    cosines,
    default_block,
    map_anchors,
    order_statistics,
    unit_rows,
)

__all__ = ['VotingRule', 'knn_predict', 'nearest_classes']


class VotingRule(NamedTuple):
    """Number and weights of the neighbours that vote.

    Attributes:
      neighbours: number of nearest training samples that vote, 1 to n; more count as n.
      temperature: temperature of the weight `exp(s / temperature)` of a neighbour with cosine `s`;
        None for equal weights.
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
    rules: tuple[VotingRule, ...],
    block_size: int | None = None,
) -> tuple[Int[Array, ' t'], ...]:
    """Predicts the class with the most votes of the nearest training samples, for each rule.

    The exact cosine of the last neighbour is found without sorting. Samples with the same cosine
    vote too. The cosines are computed once for all rules.

    Args:
      features: features `[n, k]` of the training split.
      labels: labels `[n]` of the training split, in 0 .. num_classes - 1; -1 marks a row that
        fills up a device and has no vote.
      queries: features `[t, k]` of the test split.
      num_classes: number c of classes.
      rules: rules of voting.
      block_size: queries at a time; None for `numerics.default_block`.

    Returns:
      Predictions `[t]` for each rule. With equal votes, the smallest class wins.

    Raises:
      ValueError: a rule without neighbours, a temperature that is not above 0, or a block size
        below 1.

    Source: Wu et al. 2018.
    """
    for rule in rules:
        if rule.neighbours < 1 or (rule.temperature is not None and not rule.temperature > 0):
            raise ValueError(
                f'{rule}: needs at least 1 neighbour, and a temperature above 0 or None'
            )
    rows = unit_rows(features)
    n = len(rows)
    members = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)

    def predict(query):
        similarity = jnp.where(labels >= 0, cosines(rows, query), -jnp.inf)
        thresholds = order_statistics(similarity, [min(rule.neighbours, n) for rule in rules])
        return tuple(
            jnp.argmax(
                jnp.matmul(_votes(similarity, threshold, rule), members, precision='highest')
            )
            for threshold, rule in zip(thresholds, rules, strict=True)
        )

    return map_anchors(predict, unit_rows(queries), n, block_size)


@partial(jax.jit, static_argnames=('num_classes', 'rules'))
def nearest_classes(
    voters: Blocks,
    queries: Float[Array, 't k'],
    *,
    num_classes: int,
    rules: tuple[VotingRule, ...],
) -> tuple[Int[Array, ' t'], ...]:
    """`knn_predict` with the training samples on the devices that `lay_out` has put them on.

    Args:
      voters: features and labels of the training split.
      queries: features `[t, k]` of the test split, on the same devices.
      num_classes: number c of classes.
      rules: rules of voting.

    Returns:
      Predictions `[t]` in 0 .. num_classes - 1 for each rule.

    Raises:
      ValueError: a rule that `knn_predict` refuses.
    """
    features = voters.features.reshape(-1, queries.shape[1])
    labels = jnp.where(voters.counted > 0, voters.labels.astype(jnp.int32), -1).ravel()
    return knn_predict(
        features,
        labels,
        queries,
        num_classes=num_classes,
        rules=rules,
        block_size=default_block(voters.labels.shape[-1]),
    )


def _votes(
    similarity: Float[Array, ' n'], threshold: Float[Array, ''], rule: VotingRule
) -> Float[Array, ' n']:
    """The weight of each sample that is at least as similar as the threshold, 0 of the others."""
    weights = jnp.ones_like(similarity)
    if rule.temperature is not None:
        # Relative to the nearest, whose weight is then 1: at no temperature do all weights vanish.
        weights = jnp.exp((similarity - jnp.max(similarity)) / rule.temperature)
    return jnp.where(similarity >= threshold, weights, 0.0)
