"""Who is compared with whom: the anchors of this device, the rows of all devices, the positives.

Axes: b images of this device, m = 2b anchors (view 1, then view 2), n = devices * m rows.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import unit_rows


class Anchors(NamedTuple):
    """The local rows and their places among all rows.

    Attributes:
      unit: `[m, d]` unit rows.
      index: `[m]` place of each anchor among the n rows.
      positive: `[m]` place of its positive, the other view of its image.
    """

    unit: Float[Array, '*m d']
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


def mean_over_devices(tree, axis_name: str | None):
    """Mean over the mapped axis, if there is one."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def anchors_and_rows(
    local: Float[Array, 'm d'], axis_name: str | None
) -> tuple[Anchors, Float[Array, 'n d']]:
    """Normalises the local rows and gathers those of all devices."""
    m = len(local)
    if m % 2 or m == 0:
        raise ValueError(f'got {m} rows: need an even number, all of view 1 and then all of view 2')
    unit = unit_rows(local)
    first = 0 if axis_name is None else lax.axis_index(axis_name) * m
    place = jnp.arange(m)
    anchors = Anchors(unit, first + place, first + (place + m // 2) % m)
    return anchors, gather(unit, axis_name)
