"""The comparison behind every loss: anchors against the rows of the batch, or of a queue.

Axes: b images of this device, m local anchors, n rows that they are compared with, d embedding. In
a batch m = 2b (view 1, then view 2) and n = devices * m.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import Scalar, cosines, gather
from contrastive_jax.objectives._one_pass import mean_with_gradient

LossMetrics = dict[str, Float[Array, '']]


class BatchAnchors(NamedTuple):
    """Anchors that are rows of the batch; the anchor and its positive are not negatives.

    Stored as indices: if each anchor brought its row, the rows and their gradient would exist
    twice.

    Attributes:
      index: `[m]` index of each anchor among the n rows.
      positive: `[m]` index of its positive, the other view of its image.
    """

    # The field hides `tuple.index`, which nobody calls on these.
    index: Int[Array, '*m']  # type: ignore[assignment]
    positive: Int[Array, '*m']

    def similarities(self, rows: Float[Array, 'n d']) -> Float[Array, ' n']:
        """Inner products of one anchor with all rows."""
        return cosines(rows, rows[self.index])

    def negatives(self, n: int) -> Bool[Array, ' n']:
        """Mask of the rows that are negatives of one anchor."""
        rows = jnp.arange(n, dtype=jnp.int32)
        return (rows != self.index) & (rows != self.positive)


class QueueAnchors(NamedTuple):
    """Anchors that are compared with a queue; all its rows are negatives.

    Attributes:
      row: `[m, d]` the anchors themselves.
    """

    row: Float[Array, '*m d']

    def similarities(self, rows: Float[Array, 'n d']) -> Float[Array, ' n']:
        """Inner products of one anchor with all rows."""
        return cosines(rows, self.row)

    def negatives(self, n: int) -> Bool[Array, ' n']:
        """Mask of the rows that are negatives of one anchor."""
        return jnp.ones(n, bool)


Anchors = BatchAnchors | QueueAnchors


class Comparison(NamedTuple):
    """What a loss compares.

    Attributes:
      anchors: m anchors of this device.
      rows: `[n, d]` the rows that they are compared with.
      positives: `[m]` inner product of each anchor with its positive.
    """

    anchors: Anchors
    rows: Float[Array, 'n d']
    positives: Float[Array, ' m']


def batch_anchors(m: int, axis_name: str | None) -> BatchAnchors:
    """The m local rows as anchors among the rows of all devices."""
    if m % 2 or m == 0:
        raise ValueError(f'got {m} rows: need an even number, all of view 1 and then all of view 2')
    first = 0 if axis_name is None else lax.axis_index(axis_name) * m
    # As the index of the axis, whatever the mode of JAX.
    index = jnp.arange(m, dtype=jnp.int32)
    return BatchAnchors(first + index, first + (index + m // 2) % m)


def anchors_and_rows(
    local: Float[Array, 'm d'],
    axis_name: str | None,
    queue: Float[Array, 'n d'] | None = None,
) -> tuple[Anchors, Float[Array, 'n d']]:
    """Local rows as anchors, and the rows of the queue, or else of all devices."""
    if local.ndim != 2:
        raise ValueError(f'got an array of shape {list(local.shape)}; need two axes, [m, d]')
    if queue is not None:
        return QueueAnchors(local), queue
    return batch_anchors(len(local), axis_name), gather(local, axis_name)


def within_batch(local: Float[Array, 'm d'], axis_name: str | None) -> Comparison:
    """Compares local rows with those of all devices; the positive is the other view."""
    return Comparison(*anchors_and_rows(local, axis_name), positive_similarities(local))


def positive_similarities(local: Float[Array, 'm d']) -> Float[Array, ' m']:
    """Inner product of each row with the other view of its image."""
    return jnp.sum(local * jnp.roll(local, len(local) // 2, axis=0), axis=-1)


def mean_over_anchors(
    anchor_loss: Callable[..., tuple[Float[Array, ''], LossMetrics]],
    comparison: Comparison,
    numbers: tuple[Scalar, ...],
    per_anchor: Any = (),
    shared: Any = (),
    *,
    axis_name: str | None,
    block_size: int | None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """Mean of a loss and its metrics over the anchors of all devices.

    Under differentiation, the gradient of a block of anchors is computed while its similarities are
    there, and nothing is computed twice. No gradient flows through `per_anchor`, `shared` and the
    metrics of `anchor_loss`, which must not close over anything that needs a gradient.

    Args:
      anchor_loss: returns the loss and the metrics of one anchor. Its arguments are `numbers`, the
        anchor, its similarities with all rows `[n]`, that with its positive, its entry of
        `per_anchor`, and `shared`.
      comparison: the anchors and the rows, already scaled.
      numbers: the numbers of the loss, which may be traced or learnt.
      per_anchor: tree of arrays `[m, ...]`.
      shared: tree of arrays that all anchors use.
      axis_name: mapped axis over which the mean is taken; None on one device.
      block_size: anchors at a time; None for `numerics.default_block`.

    Returns:
      The loss and the metrics. `positive_similarity` is the mean over the positives.

    Raises:
      ValueError: a block size below 1.
    """
    anchors, rows, positives = comparison
    # Numbers of other precision would change that of the sums.
    numbers = jax.tree.map(in_float32, numbers)

    def of_anchor(common, inputs, own, shared):
        (rows, numbers), (anchor, positive) = common, inputs
        return anchor_loss(numbers, anchor, anchor.similarities(rows), positive, own, shared)

    loss, metrics = mean_with_gradient(
        of_anchor,
        (rows, numbers),
        (anchors, positives),
        per_anchor,
        shared,
        len(rows),
        block_size,
    )
    metrics = {'positive_similarity': positives, **metrics}
    means = loss, {name: jnp.mean(metric) for name, metric in metrics.items()}
    return means if axis_name is None else lax.pmean(means, axis_name)


def in_float32(number: Scalar) -> Scalar:
    """A number that computes in float32, whatever its type and the mode of JAX."""
    # NumPy's float64 is a float of Python too, and would be one of JAX under `jax_enable_x64`.
    return number if type(number) in (int, float) else jnp.asarray(number, jnp.float32)


def check_positive(**values: Scalar) -> None:
    """Raises ValueError unless each value is one number that is finite and above zero in float32.

    Values that `known_number` does not know, such as traced ones, are not compared.
    """
    for name, value in values.items():
        known = known_number(name, value)
        # Processors may take a smaller number for zero.
        if known is not None and not np.finfo(np.float32).tiny <= known < math.inf:
            raise ValueError(f'{name}={value}: must be above 0, and finite, as float32')


def check_not_negative(**values: Scalar) -> None:
    """Raises ValueError unless each value is one number that is finite and not negative in float32.

    Values that `known_number` does not know, such as traced ones, are not compared.
    """
    for name, value in values.items():
        known = known_number(name, value)
        if known is not None and not 0 <= known < math.inf:
            raise ValueError(f'{name}={value}: must be at least 0, and finite, as float32')


def known_number(name: str, value: Scalar) -> float | None:
    """The float32 that a scalar gives; None if it is traced, or on devices of other processes.

    Raises:
      ValueError: an array or a text, which would give another loss or fail far from here.
    """
    if isinstance(value, str) or getattr(value, 'shape', ()) != ():
        raise ValueError(f'{name}={value!r}: need one number')
    if isinstance(value, jax.Array):
        if isinstance(value, jax.core.Tracer) or not value.is_fully_addressable:
            return None
    elif not isinstance(value, int | float | np.number | np.ndarray):
        return None  # such as a parameter of Flax, which may hold a traced value
    # Under `jit` a comparison in JAX would be traced.
    with np.errstate(over='ignore'):
        return float(np.float32(value))
