"""InfoNCE against a queue of earlier keys, with the treatments of difficult pairs: MoCo.

Axes: m local anchors (queries), n rows of the queue, k features, d embedding.
Source: He et al. 2020, "Momentum contrast"; Chen et al. 2020, "MoCo v2".
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import (
    Number,
    Scalar,
    check_percentiles,
    compiler_sharded,
    cosines,
    map_anchors,
    order_statistics,
    percentile_rank,
    unit_rows,
)
from contrastive_jax.objectives._batch import Metrics, check_positive
from contrastive_jax.objectives.contrast import contrast, share
from contrastive_jax.objectives.pairs import class_counts, in_band

__all__ = ['QueueBand', 'info_nce', 'queue_band', 'queue_different_class_share']


class QueueBand(NamedTuple):
    """The selection `low <= s_ij < high` of pairs of an anchor and a row of the queue.

    Attributes:
      features: `[m, k]` of the anchors, not normalised, without gradient.
      queue: `[n, k]` of the keys in the queue, likewise.
      high: `[m]` `Sim_posHigh` of each anchor, `+inf` for percentile 0.
      low: `[m]` `Sim_posLow` of each anchor.
    """

    features: Float[Array, 'm k']
    queue: Float[Array, 'n k']
    high: Float[Array, ' m']
    low: Float[Array, ' m']


QueuePairs = QueueBand | Bool[Array, 'm n'] | Literal['all'] | None


def queue_band(
    features: Float[Array, 'm k'],
    queue: Float[Array, 'n k'],
    *,
    pos_high: Number,
    pos_low: Number,
    block_size: int | None = None,
) -> QueueBand:
    """Exact thresholds of each anchor's difficult band in the queue.

    `Sim_q` of anchor i is the `ceil(q n)`-th largest of its cosines with the queue: all its rows
    are negatives.

    Args:
      features: `[m, k]` encoder features of the queries, before the projector.
      queue: `[n, k]` encoder features of the keys in the queue.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
        In [0, pos_low]; guide: one over the number of classes.
      pos_low: where it ends, from the top too, in [pos_high, 1].
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The band, thresholds `[m]`. No gradient flows through it.

    Raises:
      ValueError: percentiles out of order.

    Source: Section 5.1, Eq. 12, with the queue in place of the batch.
    """
    check_percentiles(pos_high, pos_low)
    features, queue = (lax.stop_gradient(x).astype(jnp.float32) for x in (features, queue))
    ranks = [percentile_rank(percentile, len(queue)) for percentile in (pos_high, pos_low)]
    high, low = _thresholds(unit_rows(features), unit_rows(queue), ranks, block_size)
    return QueueBand(features, queue, high, low)


@compiler_sharded
def _thresholds(anchors, rows, ranks, block_size):
    """The cosine of each rank among those of each anchor with all rows, `[m]` for each rank."""
    return map_anchors(
        lambda anchor: order_statistics(cosines(rows, anchor), ranks),
        anchors,
        len(rows),
        block_size,
    )


@compiler_sharded
def info_nce(
    queries: Float[Array, 'm d'],
    keys: Float[Array, 'm d'],
    queue: Float[Array, 'n d'],
    *,
    temperature: Scalar,
    pairs: QueuePairs = None,
    remove: bool = False,
    margin: Scalar = 0.0,
    temperature_scale: Scalar = 1.0,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], Metrics]:
    """InfoNCE of each query against its key and the queue; the treatments are those of `nt_xent`.

    `loss = mean_i [ -s_i / tau + log( exp(s_i / tau) + sum_k exp(l_ik) ) ]` with `s_i` the cosine
    of a query and its key, and `l_ik = (s_ik + sigma p_ik) / (tau rho^p_ik)` over the queue.

    Args:
      queries: `[m, d]` projector outputs, not normalised.
      keys: `[m, d]` those of the momentum encoder for the other view; pass no gradient.
      queue: `[n, d]` keys of earlier steps, the same on all devices; pass no gradient.
      temperature: `tau > 0`.
      pairs: a `QueueBand`, a matrix `[m, n]`, `'all'` for every row of the queue, or None.
      remove: leave the selected pairs out.
      margin: `sigma >= 0`, added to the cosine of a selected pair.
      temperature_scale: `rho > 0`, times the temperature of a selected pair.
      axis_name: mapped axis over which the mean is taken; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The loss and the metrics, as `nt_xent`.

    Raises:
      ValueError: a temperature or scale that is not positive.

    Source: He et al. 2020, Eq. 1; Section 5 and Table 5 for the treatments.
    """
    check_positive(temperature=temperature, temperature_scale=temperature_scale)
    anchors, rows = unit_rows(queries), unit_rows(lax.stop_gradient(queue))
    positives = jnp.sum(anchors * unit_rows(lax.stop_gradient(keys)), axis=-1)
    cuts, select = _selection(pairs, len(rows))
    negative = jnp.ones(len(rows), bool)

    def of_anchor(inputs):
        anchor, positive, cut = inputs
        chosen = select(cut)
        loss = contrast(
            cosines(rows, anchor),
            positive,
            negative,
            chosen,
            temperature=temperature,
            remove=remove,
            margin=margin,
            temperature_scale=temperature_scale,
        )
        return loss, share(chosen, negative)

    losses, shares = map_anchors(of_anchor, (anchors, positives, cuts), len(rows), block_size)
    metrics = {'positive_similarity': jnp.mean(positives), 'selected_share': jnp.mean(shares)}
    means = jnp.mean(losses), metrics
    return means if axis_name is None else lax.pmean(means, axis_name)


@compiler_sharded
def queue_different_class_share(
    pairs: QueuePairs,
    labels: Int[Array, ' m'],
    queue_labels: Int[Array, ' n'],
    *,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Float[Array, '']:
    """Share of the selected pairs that truly differ in class, as `different_class_share`.

    Args:
      pairs: the selection, as in `info_nce`.
      labels: `[m]` class of each anchor, -1 where it is unknown.
      queue_labels: `[n]` class of each row of the queue, -1 where it is unknown: in the first steps
        most rows are random directions of no class.
      axis_name: mapped axis; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      Scalar in [0, 1]; NaN where no selected pair has two known classes.
    """
    cuts, select = _selection(pairs, len(queue_labels))

    def counts(inputs):
        label, cut = inputs
        return class_counts(select(cut), label, queue_labels)

    different, known = (
        jnp.sum(count.astype(jnp.float32))
        for count in map_anchors(counts, (labels, cuts), len(queue_labels), block_size)
    )
    if axis_name is not None:
        different, known = lax.psum((different, known), axis_name)
    return different / known


def _selection(pairs: QueuePairs, n: int):
    """What each anchor needs of `pairs`, and a function that makes of it its selected rows."""
    if pairs is None or isinstance(pairs, str):
        if pairs not in (None, 'all'):
            raise ValueError(f"pairs={pairs!r}: need a QueueBand, a matrix, 'all' or None")
        return (), lambda _: jnp.full(n, pairs == 'all')
    if not isinstance(pairs, QueueBand):
        return pairs, lambda row: row
    rows = unit_rows(pairs.queue)

    def select(cut):
        anchor, high, low = cut
        return in_band(cosines(rows, anchor), high, low)

    return (unit_rows(pairs.features), pairs.high, pairs.low), select
