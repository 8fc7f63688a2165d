"""Selection of difficult pairs, from the similarities within a batch or with a queue.

A pair is difficult where its similarity lies between two percentiles of its anchor's similarities.
A pair above both is taken to be of one class; a pair below both is easy to tell apart. Percentiles
count from the top: 0.1 is the most similar tenth.

Axes: m local anchors, n rows of all devices or of the queue, k features.
Source: Section 5.1, Eq. 12.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import (
    COSINE_SLACK,
    Number,
    check_classes,
    check_percentiles,
    compiler_sharded,
    gather,
    map_anchors,
    order_statistics,
    percentile_rank,
    unit_rows,
)
from contrastive_jax.objectives._compare import (
    Anchors,
    QueueAnchors,
    anchors_and_rows,
    batch_anchors,
)

__all__ = [
    'DifficultBand',
    'QueueBand',
    'different_class_share',
    'difficult_band',
    'difficult_pairs',
    'queue_band',
    'queue_different_class_share',
]


Ranks = Sequence[int | Int[Array, '']]


class DifficultBand(NamedTuple):
    """The selection `low <= s_ij < high` in `O(m)` memory.

    Attributes:
      features: `[m, k]` the features whose cosines are compared, not normalised, no gradient.
      high: `[m]` upper threshold `Sim_posHigh` of each anchor, `+inf` for percentile 0.
      low: `[m]` lower threshold `Sim_posLow` of each anchor.
    """

    features: Float[Array, 'm k']
    high: Float[Array, ' m']
    low: Float[Array, ' m']


class QueueBand(NamedTuple):
    """The selection `low <= s_ij < high` of pairs of an anchor and a row of the queue.

    Attributes:
      features: `[m, k]` the features of the anchors, not normalised, no gradient.
      queue: `[n, k]` the features of the keys in the queue, not normalised, no gradient.
      high: `[m]` upper threshold `Sim_posHigh` of each anchor, `+inf` for percentile 0.
      low: `[m]` lower threshold `Sim_posLow` of each anchor.
    """

    features: Float[Array, 'm k']
    queue: Float[Array, 'n k']
    high: Float[Array, ' m']
    low: Float[Array, ' m']


class _Ranked:
    """What a band remembers of how its thresholds were made.

    A loss then takes the thresholds from similarities that it needs anyway, and a compiled program
    that does not use `high` and `low` does not compute them. A band that is rebuilt, by `_replace`
    or at the border of a compiled function, has lost its ranks: a loss then uses `high` and `low`.

    Attributes:
      ranks: ranks of both thresholds among the similarities of an anchor; None if not known.
      axis_name: mapped axis over which the rows were gathered.
    """

    ranks: Ranks | None = None
    axis_name: str | None = None

    def at(self, ranks: Ranks, axis_name: str | None = None):
        """The band itself, which now remembers its ranks."""
        self.ranks, self.axis_name = ranks, axis_name
        return self


class _RankedBand(_Ranked, DifficultBand):
    pass


class _RankedQueueBand(_Ranked, QueueBand):
    pass


# What a loss accepts as `pairs`: nothing, a band, a matrix, or every negative.
_Matrix = Bool[Array, 'm n']
PairChoice = DifficultBand | _Matrix | Literal['all'] | None
QueuePairs = QueueBand | _Matrix | Literal['all'] | None


def difficult_band(
    features: Float[Array, 'm k'],
    *,
    pos_high: Number,
    pos_low: Number,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> DifficultBand:
    """Exact thresholds of each anchor's difficult band within the batch.

    `Sim_q` of anchor i is the `ceil(q M)`-th largest cosine of its `M = n - 2` negatives.

    Args:
      features: `[m, k]` encoder features (before the projector), view 1 and then view 2; under
        `axis_name`, those of the images of this device. A row that is not finite selects no pair. A
        row of zeros has the cosine 0 with all others, so it selects all of its negatives if
        `pos_high` is 0, and none otherwise.
      pos_high: percentile at which the band begins, in [0, pos_low], a Python number. One over the
        number of classes is a good first guess.
      pos_low: percentile at which the band ends, in [pos_high, 1].
      axis_name: mapped axis over which the rows are gathered; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The band, with thresholds `[m]`. No gradient flows through it.

    Raises:
      ValueError: percentiles out of order or traced, an odd number of rows, features that are not
        `[m, k]`, or a block size below 1.

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
    _, high, low, ranks = _map_bands(
        lambda *_: (), features, None, pos_high, pos_low, axis_name, block_size
    )
    return _RankedBand(features, high, low).at(ranks, axis_name)


def queue_band(
    features: Float[Array, 'm k'],
    queue: Float[Array, 'n k'],
    *,
    pos_high: Number,
    pos_low: Number,
    block_size: int | None = None,
) -> QueueBand:
    """Exact thresholds of each anchor's difficult band in the queue.

    `Sim_q` of anchor i is the `ceil(q n)`-th largest of its cosines with the queue, whose rows are
    all negatives.

    Args:
      features: `[m, k]` encoder features of the queries, before the projector.
      queue: `[n, k]` encoder features of the keys in the queue.
      pos_high: percentile at which the band begins, in [0, pos_low]. One over the number of classes
        is a good first guess.
      pos_low: percentile at which the band ends, in [pos_high, 1].
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The band, with thresholds `[m]`. No gradient flows through it.

    Raises:
      ValueError: percentiles out of order or traced, features that are not `[m, k]`, or a block
        size below 1.

    Source: Section 5.1, Eq. 12, with the queue in place of the batch.
    """
    features, queue = (lax.stop_gradient(x).astype(jnp.float32) for x in (features, queue))
    _, high, low, ranks = _map_bands(
        lambda *_: (), features, queue, pos_high, pos_low, None, block_size
    )
    return _RankedQueueBand(features, queue, high, low).at(ranks)


def difficult_pairs(
    features: Float[Array, 'm k'],
    *,
    pos_high: Number,
    pos_low: Number,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Bool[Array, 'm n']:
    """The selection matrix `p_ij = 1[Sim_posLow <= s_ij < Sim_posHigh]`.

    The same selection as `difficult_band`, as a matrix: for small batches, tests and pictures.

    Args:
      features: `[m, k]` encoder features (before the projector), view 1 and then view 2.
      pos_high: percentile at which the band begins, in [0, pos_low].
      pos_low: percentile at which the band ends, in [pos_high, 1].
      axis_name: mapped axis over which the rows are gathered; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      `[m, n]` bool; an anchor itself and its positive are never selected.

    Raises:
      ValueError: percentiles out of order or traced, an odd number of rows, features that are not
        `[m, k]`, or a block size below 1.

    Source: Section 5.1, Eq. 12.
    """
    selected, *_ = _map_bands(
        lambda candidates, high, low: (low <= candidates) & (candidates < high),
        lax.stop_gradient(features),
        None,
        pos_high,
        pos_low,
        axis_name,
        block_size,
    )
    return selected


@compiler_sharded
def _map_bands(function, features, queue, pos_high, pos_low, axis_name, block_size):
    """Maps `function(candidates, high, low)` over the anchors; returns its results and thresholds.

    `candidates` `[n]` are the cosines of an anchor, `-inf` where a row is not a negative.
    """
    check_percentiles(pos_high, pos_low)
    anchors, rows = _unit_anchors_and_rows(features, axis_name, queue)
    n = len(rows)
    negatives = n if queue is not None else n - 2
    ranks = tuple(percentile_rank(percentile, negatives) for percentile in (pos_high, pos_low))

    def band(anchor: Anchors):
        candidates = jnp.where(anchor.negatives(n), anchor.similarities(rows), -jnp.inf)
        high, low = order_statistics(candidates, ranks)
        return function(candidates, high, low), high, low

    return *map_anchors(band, anchors, n, block_size), ranks


def _unit_anchors_and_rows(features, axis_name, queue):
    """Anchors and rows of normalised features."""
    return anchors_and_rows(
        unit_rows(features), axis_name, None if queue is None else unit_rows(queue)
    )


def selection(
    pairs: PairChoice | QueuePairs,
    axis_name: str | None,
    shape: tuple[int, int],
    *,
    queue: bool = False,
) -> tuple[Any, Any, Callable[[Any, Any, Bool[Array, ' n']], Bool[Array, ' n']]]:
    """Brings every form of `pairs` to one: arrays of each anchor, arrays of all, and a function.

    Args:
      pairs: the selection.
      axis_name: mapped axis of the loss.
      shape: m, and the number n of rows that an anchor is compared with.
      queue: whether the anchors are compared with a queue.

    Returns:
      A tree of arrays `[m, ...]`, a tree of arrays that all anchors use, and a function of one
      anchor's entry of the first, of the second, and of the mask of its negatives `[n]`, which
      returns the mask of the selected negatives `[n]`.

    Raises:
      ValueError: another text than 'all', a matrix of another shape or of floats, a band of the
        other kind, of other rows or of another axis.
    """
    if pairs is None:
        return (), (), lambda _, __, negative: jnp.zeros_like(negative)
    if isinstance(pairs, str):
        if pairs != 'all':
            raise ValueError(f"pairs={pairs!r}: need a band, a matrix, 'all' or None")
        return (), (), lambda _, __, negative: negative
    if not isinstance(pairs, DifficultBand | QueueBand):
        pairs = jnp.asarray(pairs)
        if not any(jnp.issubdtype(pairs.dtype, kind) for kind in (jnp.bool, jnp.integer)):
            raise ValueError(
                f'pairs: a matrix of {pairs.dtype}; need True where a pair is selected'
            )
        pairs = pairs.astype(bool)
        if pairs.shape != shape:
            raise ValueError(
                f'pairs: a matrix {list(pairs.shape)}; here it needs {list(shape)}, a row for each '
                'anchor'
            )
        return pairs, (), lambda row, _, negative: row & negative

    _check_band(pairs, axis_name, shape, queue)
    keys = pairs.queue if isinstance(pairs, QueueBand) else None
    anchors, rows = _unit_anchors_and_rows(pairs.features, axis_name, keys)

    def by_thresholds(entry, shared, negative):
        anchor, high, low = entry
        similarity = anchor.similarities(shared) + COSINE_SLACK
        return (low <= similarity) & (similarity < high) & negative

    def by_ranks(anchor, shared, negative):
        rows, ranks = shared
        candidates = jnp.where(negative, anchor.similarities(rows), -jnp.inf)
        high, low = order_statistics(candidates, ranks)
        return (low <= candidates) & (candidates < high)

    ranks = getattr(pairs, 'ranks', None)
    if ranks is None:
        return (anchors, pairs.high, pairs.low), rows, by_thresholds
    return anchors, (rows, tuple(map(jnp.int32, ranks))), by_ranks


def _check_band(
    band: DifficultBand | QueueBand, axis_name: str | None, shape: tuple[int, int], queue: bool
) -> None:
    """Refuses a band whose thresholds would be those of other rows than the loss compares."""
    if isinstance(band, QueueBand) != queue:
        makers = ('difficult_band', 'queue_band')
        raise ValueError(f'pairs: a band of {makers[not queue]}; here give one of {makers[queue]}')
    own = len(band.features), len(band.queue) if isinstance(band, QueueBand) else shape[1]
    if own != shape:
        raise ValueError(
            f'pairs: a band of {own[0]} anchors and {own[1]} rows; here are {shape[0]} anchors and '
            f'{shape[1]} rows'
        )
    # A band that was rebuilt has lost its ranks, and no longer knows its axis either.
    if not isinstance(band, _RankedBand) or band.ranks is None:
        return
    if band.axis_name != axis_name:
        raise ValueError(
            f'axis_name={axis_name!r}: the band was made with axis_name={band.axis_name!r}; give '
            'both the same'
        )


@compiler_sharded
def different_class_share(
    pairs: PairChoice,
    labels: Int[Array, ' m'],
    *,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Float[Array, '']:
    """Share of the selected pairs whose images differ in class. Labels serve for this alone.

    `sum_ij p_ij 1[y_i != y_j] / sum_ij p_ij`, over the pairs with two known classes, and over the
    anchors of all devices.

    Args:
      pairs: the selection, as in `nt_xent`.
      labels: `[m]` class of each row, -1 where it is unknown.
      axis_name: mapped axis; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      Float32 scalar in [0, 1]; NaN where no selected pair has two known classes.

    Raises:
      ValueError: labels that are no integers `[m]`, an odd number of them, a selection that does
        not fit the rows or was made with another `axis_name`, or a block size below 1.

    Source: Section 5.4, Fig. 4c.
    """
    check_classes(labels, len(labels), 'labels', 'the batch')
    anchors, classes = batch_anchors(len(labels), axis_name), gather(labels, axis_name)
    return _different_share(pairs, anchors, labels, classes, axis_name, block_size)


@compiler_sharded
def queue_different_class_share(
    pairs: QueuePairs,
    labels: Int[Array, ' m'],
    queue_labels: Int[Array, ' n'],
    *,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Float[Array, '']:
    """Share of the selected pairs that differ in class, as `different_class_share`, in the queue.

    Args:
      pairs: the selection, as in `info_nce`.
      labels: `[m]` class of each anchor, -1 where it is unknown.
      queue_labels: `[n]` class of each row of the queue, -1 where it is unknown. In the first steps
        most rows are random directions without a class.
      axis_name: mapped axis; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      Float32 scalar in [0, 1]; NaN where no selected pair has two known classes.

    Raises:
      ValueError: labels that are no integers `[m]` or `[n]`, a selection that does not fit the rows
        or was made with another `axis_name`, or a block size below 1.

    Source: Section 5.4, Fig. 4c, with the queue of MoCo in place of the batch.
    """
    check_classes(labels, len(labels), 'labels', 'the anchors')
    check_classes(queue_labels, len(queue_labels), 'queue_labels', 'the queue')
    # Negatives are counted, and not compared: any column will do for the rows of the anchors.
    anchors = QueueAnchors(labels[:, None].astype(jnp.float32))
    return _different_share(pairs, anchors, labels, queue_labels, axis_name, block_size)


def _different_share(pairs, anchors, labels, classes, axis_name, block_size):
    """Share of the selected pairs of known classes that differ in class."""
    n = len(classes)
    queue = isinstance(anchors, QueueAnchors)
    entries, shared, select = selection(pairs, axis_name, (len(labels), n), queue=queue)

    def counts(inputs):
        anchor, label, entry = inputs
        known = select(entry, shared, anchor.negatives(n)) & (classes >= 0) & (label >= 0)
        return jnp.sum(known & (classes != label)), jnp.sum(known)

    different, known = (
        jnp.sum(count.astype(jnp.float32))
        for count in map_anchors(counts, (anchors, labels, entries), n, block_size)
    )
    if axis_name is not None:
        different, known = lax.psum((different, known), axis_name)
    return different / known
