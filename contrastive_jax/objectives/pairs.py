"""Selection of difficult pairs, from the similarities of a batch alone.

A pair is difficult where its similarity lies between two percentiles of its anchor's order: above
them the two are taken for one class, below them for easily told apart. Percentiles count from the
top: 0.1 is the most similar tenth.

Axes: m local anchors, n rows of all devices, k features.
Source: Section 5.1, Eq. 12.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import (
    Number,
    check_percentiles,
    compiler_sharded,
    cosines,
    map_anchors,
    order_statistics,
    percentile_rank,
    unit_rows,
)
from contrastive_jax.objectives._batch import Anchors, anchors_and_rows, gather

__all__ = ['DifficultBand', 'different_class_share', 'difficult_band', 'difficult_pairs']


class DifficultBand(NamedTuple):
    """The selection `low <= s_ij < high` in `O(m)` memory.

    Attributes:
      features: `[m, k]` the features whose cosines are cut, not normalised, without gradient.
      high: `[m]` `Sim_posHigh` of each anchor, `+inf` for percentile 0.
      low: `[m]` `Sim_posLow` of each anchor.
    """

    features: Float[Array, 'm k']
    high: Float[Array, ' m']
    low: Float[Array, ' m']


# A threshold is the cosine of some pair. Computed again, in other blocks or fused otherwise, that
# cosine differs in its last bits, and without slack the pair itself would fall out of its band.
# Other pairs are closer to a threshold than this about once in a million.
_SLACK = 2.0**-21

# What a loss accepts as `pairs`: nothing, a band, a matrix, or every negative.
Pairs = DifficultBand | Bool[Array, 'm n'] | Literal['all'] | None


def difficult_band(
    features: Float[Array, 'm k'],
    *,
    pos_high: Number,
    pos_low: Number,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> DifficultBand:
    """Exact thresholds of each anchor's difficult band.

    `Sim_q` of anchor i is the `ceil(q M)`-th largest cosine of its `M = n - 2` negatives.

    Args:
      features: `[m, k]` encoder features (before the projector), view 1 and then view 2.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
        In [0, pos_low]; guide: one over the number of classes.
      pos_low: where it ends, from the top too, in [pos_high, 1].
      axis_name: mapped axis over which to gather the rows; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The band, thresholds `[m]`. No gradient flows through it.

    Raises:
      ValueError: percentiles out of order, or an odd number of rows.

    Example:
      >>> import jax
      >>> from contrastive_jax import difficult_band, nt_xent
      >>> features = jax.random.normal(jax.random.key(0), (8, 4))
      >>> band = difficult_band(features, pos_high=0.2, pos_low=0.6)
      >>> bool((band.high >= band.low).all())
      True
      >>> loss, _ = nt_xent(features, temperature=0.5, pairs=band, margin=0.1)
      >>> loss.shape
      ()

    Source: Section 5.1, Eq. 12.
    """
    features = lax.stop_gradient(features).astype(jnp.float32)
    _, high, low = _map_bands(
        lambda _, high, low: (), features, pos_high, pos_low, axis_name, block_size
    )
    return DifficultBand(features, high, low)


def difficult_pairs(
    features: Float[Array, 'm k'],
    *,
    pos_high: Number,
    pos_low: Number,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Bool[Array, 'm n']:
    """The selection matrix `p_ij = 1[Sim_posLow <= s_ij < Sim_posHigh]`.

    The same as `difficult_band` as a matrix: for small batches, tests and pictures. Arguments and
    errors are those of `difficult_band`.

    Returns:
      `[m, n]`; an anchor itself and its positive are never selected.

    Source: Section 5.1, Eq. 12.
    """
    selected, _, _ = _map_bands(
        lambda candidates, high, low: (low <= candidates) & (candidates < high),
        lax.stop_gradient(features),
        pos_high,
        pos_low,
        axis_name,
        block_size,
    )
    return selected


@compiler_sharded
def _map_bands(function, features, pos_high, pos_low, axis_name, block_size):
    """Maps `function(candidates, high, low)` over the anchors and returns it with the thresholds.

    `candidates` `[n]` are the cosines of an anchor, `-inf` at itself and its positive.
    """
    check_percentiles(pos_high, pos_low)
    anchors, rows = anchors_and_rows(unit_rows(features), axis_name)
    n = len(rows)
    ranks = [percentile_rank(percentile, n - 2) for percentile in (pos_high, pos_low)]

    def band(anchor: Anchors):
        candidates = jnp.where(anchor.negatives(n), cosines(rows, rows[anchor.index]), -jnp.inf)
        high, low = order_statistics(candidates, ranks)
        return function(candidates, high, low), high, low

    return map_anchors(band, anchors, n, block_size)


@compiler_sharded
def different_class_share(
    pairs: Pairs,
    labels: Int[Array, ' m'],
    *,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Float[Array, '']:
    """Share of the selected pairs that truly differ in class; labels serve for this alone.

    `sum_ij p_ij 1[y_i != y_j] / sum_ij p_ij`, over the pairs with two known classes, and over the
    anchors of all devices.

    Args:
      pairs: the selection, as in `nt_xent`.
      labels: `[m]` class of each row, -1 where it is unknown.
      axis_name: mapped axis; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      Scalar in [0, 1]; NaN where no selected pair has two known classes.

    Source: Section 5.4, Fig. 4c.
    """
    classes = gather(labels, axis_name)
    # Only the places of the anchors are needed here, so any column will do for their rows.
    anchors, _ = anchors_and_rows(labels[:, None].astype(jnp.float32), axis_name)
    cuts, select = selection(pairs, axis_name)

    def counts(inputs):
        anchor, label, cut = inputs
        return class_counts(select(cut, anchor.negatives(len(classes))), label, classes)

    different, known = (
        jnp.sum(count.astype(jnp.float32))
        for count in map_anchors(counts, (anchors, labels, cuts), len(classes), block_size)
    )
    if axis_name is not None:
        different, known = lax.psum((different, known), axis_name)
    return different / known


def class_counts(
    chosen: Bool[Array, ' n'], label: Int[Array, ''], classes: Int[Array, ' n']
) -> tuple[Int[Array, ''], Int[Array, '']]:
    """Counts the chosen pairs of one anchor that differ in class, and those of known classes.

    Args:
      chosen: `[n]` rows that the anchor is paired with.
      label: class of the anchor, -1 where it is unknown.
      classes: `[n]` class of each row, -1 where it is unknown.
    """
    known = chosen & (classes >= 0) & (label >= 0)
    return jnp.sum(known & (classes != label)), jnp.sum(known)


def selection(
    pairs: Pairs, axis_name: str | None
) -> tuple[Any, Callable[[Any, Bool[Array, ' n']], Bool[Array, ' n']]]:
    """Brings every form of `pairs` to one: what each anchor needs, and a function that uses it.

    Returns:
      A tree of arrays `[m, ...]`, and a function of one anchor's share of it and of its negatives
      `[n]` that returns which of those are selected, `[n]`.
    """
    if pairs is None:
        return (), lambda _, negative: jnp.zeros_like(negative)
    if isinstance(pairs, str):
        if pairs != 'all':
            raise ValueError(f"pairs={pairs!r}: need a DifficultBand, a matrix, 'all' or None")
        return (), lambda _, negative: negative
    if not isinstance(pairs, DifficultBand):
        return pairs, lambda row, negative: row & negative

    anchors, rows = anchors_and_rows(unit_rows(pairs.features), axis_name)

    def select(cut, negative):
        index, high, low = cut
        return in_band(cosines(rows, rows[index]), high, low) & negative

    return (anchors.index, pairs.high, pairs.low), select


def in_band(
    similarity: Float[Array, ' n'], high: Float[Array, ''], low: Float[Array, '']
) -> Bool[Array, ' n']:
    """`low <= s < high` of cosines that are computed a second time."""
    similarity = similarity + _SLACK
    return (low <= similarity) & (similarity < high)
