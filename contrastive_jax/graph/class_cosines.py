"""alpha, beta and gamma by labels, and how pure the difficult band is, in one compiled program.

`theory.estimate` gives the same values on the host, in float64 and with intervals.

Axes: n samples, k features.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from contrastive_jax.graph._rows import sample_anchors
from contrastive_jax.graph.difficulty import cut
from contrastive_jax.numerics import (
    check_classes,
    check_percentiles,
    compiler_sharded,
    map_anchors,
    order_statistics,
    percentile_rank,
)

__all__ = ['ClassCosines', 'cosines_by_class']


class ClassCosines(NamedTuple):
    """Mean cosines of three kinds of pairs, and the purity of the band; NaN where there is no pair.

    Attributes:
      alpha: mean cosine of pairs of one class, in [-1, 1].
      beta: mean cosine of pairs of different classes below the band.
      gamma: mean cosine of pairs of different classes in the band or above.
      purity: share of the pairs in the band whose classes differ, in [0, 1].
    """

    alpha: Float[Array, '']
    beta: Float[Array, '']
    gamma: Float[Array, '']
    purity: Float[Array, '']


@partial(jax.jit, static_argnames=('pos_high', 'pos_low', 'block_size'))
@compiler_sharded
def cosines_by_class(
    features: Float[Array, 'n k'],
    labels: Int[Array, ' n'],
    *,
    pos_high: float,
    pos_low: float,
    block_size: int | None = None,
) -> ClassCosines:
    """Means the cosines of all pairs by class, as `theory.estimate` does with labels.

    A pair of different classes, seen from sample i, is difficult if its cosine is at least the
    `ceil(pos_low (n - 1))`-th largest of sample i. The purity counts the pairs of the band between
    both percentiles, which are chosen without labels.

    Args:
      features: `[n, k]`, any scale, not centred.
      labels: `[n]` class of each sample.
      pos_high: where the band begins, as a percentile from the top, in [0, pos_low].
      pos_low: where it ends, in [pos_high, 1].
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      Four float32 scalars: three mean cosines, in [-1, 1] up to rounding, and a share, in [0, 1]. A
      value is NaN where there is no such pair.

    Raises:
      ValueError: percentiles out of order, labels that are no integers `[n]`, or a block size
        below 1.

    Source: Section 3.1 and Section 5.1, Eq. 12.
    """
    check_percentiles(pos_high, pos_low)
    n = len(features)
    check_classes(labels, n, 'labels')
    anchors, rows = sample_anchors(features, center=False, axis_name=None)
    ranks = [percentile_rank(percentile, n - 1) for percentile in (pos_high, pos_low)]

    def kinds(anchor_and_label):
        anchor, label = anchor_and_label
        similarity, others = anchor.masked_similarities(rows), anchor.others(n)
        high, low = order_statistics(similarity, ranks)
        _, band, _ = cut(similarity, others, high, low)
        differs = labels != label
        masks = (others & ~differs, differs & (similarity < low), differs & (similarity >= low))
        sums = [jnp.sum(jnp.where(mask, similarity, 0.0)) for mask in masks]
        # All pairs together may be more than an int32 holds.
        counts = [jnp.sum(mask, dtype=jnp.float32) for mask in (*masks, band & differs, band)]
        return sums, counts

    sums, counts = jax.tree.map(jnp.sum, map_anchors(kinds, (anchors, labels), n, block_size))
    same, easy, difficult, pure, band = counts
    alpha, beta, gamma = (
        total / count for total, count in zip(sums, (same, easy, difficult), strict=True)
    )
    return ClassCosines(alpha, beta, gamma, pure / band)
