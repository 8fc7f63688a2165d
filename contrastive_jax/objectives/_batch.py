"""Who is compared with whom, and the frame of every loss: the mean of a function of each anchor.

Axes: b images of this device, m = 2b anchors (view 1, then view 2), n = devices * m rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import Scalar, cosines, map_anchors

Metrics = dict[str, Float[Array, '']]


class Anchors(NamedTuple):
    """Where the local rows and their positives are among the rows of all devices.

    Places, not rows: as an input of each anchor the rows, and their gradient, would be kept twice.

    Attributes:
      index: `[m]` place of each anchor among the n rows.
      positive: `[m]` place of its positive, the other view of its image.
    """

    index: Int[Array, '*m']
    positive: Int[Array, '*m']

    def negatives(self, n: int) -> Bool[Array, '*m n']:
        """For one anchor, marks the rows that are neither itself nor its positive."""
        rows = jnp.arange(n)
        return (rows != self.index) & (rows != self.positive)


def gather(local: Array, axis_name: str | None) -> Array:
    """Rows of all devices, device-major; each gradient returns to the device it came from."""
    if axis_name is None:
        return local
    return lax.all_gather(local, axis_name, axis=0, tiled=True)


def anchors_and_rows(
    local: Float[Array, 'm d'], axis_name: str | None
) -> tuple[Anchors, Float[Array, 'n d']]:
    """The places of the local rows, and the rows of all devices to compare them with."""
    m = len(local)
    if m % 2 or m == 0:
        raise ValueError(f'got {m} rows: need an even number, all of view 1 and then all of view 2')
    first = 0 if axis_name is None else lax.axis_index(axis_name) * m
    place = jnp.arange(m)
    anchors = Anchors(first + place, first + (place + m // 2) % m)
    return anchors, gather(local, axis_name)


def positive_similarities(local: Float[Array, 'm d']) -> Float[Array, ' m']:
    """Inner product of each row with the other view of its image."""
    return jnp.sum(local * jnp.roll(local, len(local) // 2, axis=0), axis=-1)


def mean_over_anchors(
    anchor_loss: Callable[..., tuple[Float[Array, ''], Metrics]],
    local: Float[Array, 'm d'],
    per_anchor: Any = (),
    *,
    axis_name: str | None,
    block_size: int | None,
) -> tuple[Float[Array, ''], Metrics]:
    """Mean of a loss and its metrics over the anchors of all devices.

    Args:
      anchor_loss: the loss and the metrics of one anchor, a function of the anchor, its inner
        products with all rows `[n]`, the one with its positive, and its share of `per_anchor`.
      local: `[m, d]` the rows to compare, already scaled.
      per_anchor: tree of arrays `[m, ...]`.
      axis_name: mapped axis over which to gather the rows; None on one device.
      block_size: anchors at a time; None for all at once.

    Returns:
      The loss and the metrics, among them `positive_similarity`, the mean over the positives.
    """
    anchors, rows = anchors_and_rows(local, axis_name)
    positives = positive_similarities(local)

    def of_anchor(inputs):
        anchor, positive, own = inputs
        return anchor_loss(anchor, cosines(rows, rows[anchor.index]), positive, own)

    losses, metrics = map_anchors(
        of_anchor, (anchors, positives, per_anchor), len(rows), block_size
    )
    metrics = {'positive_similarity': positives, **metrics}
    means = jnp.mean(losses), {name: jnp.mean(metric) for name, metric in metrics.items()}
    return means if axis_name is None else lax.pmean(means, axis_name)


def check_positive(**values: Scalar) -> None:
    """Raises ValueError for a number that is not above zero; traced values pass."""
    for name, value in values.items():
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f'{name}={value}: must be above 0')
