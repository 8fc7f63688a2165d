"""The rows of the similarity graph: directions of the samples of this device, and of all.

Axes: m anchors of this device, n rows of all devices, k features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.graph._inputs import Features, check_features
from contrastive_jax.numerics import unit_rows

__all__ = ['Anchors', 'checked', 'directions']


class Anchors(NamedTuple):
    """Samples of this device.

    Attributes:
      unit: `[m, k]` directions.
      index: `[m]` place among the n rows.
    """

    unit: Float[Array, '*m k']
    index: Int[Array, '*m']

    def others(self, n: int) -> Bool[Array, ' n']:
        """For one anchor, marks the rows that are not itself."""
        return jnp.arange(n) != self.index


def checked(features: Features, axis_name: str | None) -> tuple[Float[Array, 'm k'], int]:
    """Features as float32, and the number of rows of all devices.

    Raises:
      ValueError: unless traced, a row that is zero or not finite, no rows.
    """
    features = jnp.asarray(features).astype(jnp.float32)
    # While tracing there are no values yet: whoever maps or jits this checks them outside.
    if not isinstance(features, jax.core.Tracer):
        check_features(features)
    return features, len(features) * (1 if axis_name is None else lax.axis_size(axis_name))


def directions(
    features: Float[Array, 'm k'], center: bool, axis_name: str | None
) -> tuple[Anchors, Float[Array, 'n k']]:
    """Directions of the samples of this device, and those of all devices; without gradient."""
    features = lax.stop_gradient(features)
    unit = unit_rows(_centered(features, axis_name) if center else features)
    index = jnp.arange(len(unit))
    if axis_name is None:
        return Anchors(unit, index), unit
    rows = lax.all_gather(unit, axis_name, axis=0, tiled=True)
    return Anchors(unit, lax.axis_index(axis_name) * len(unit) + index), rows


def _centered(features: Float[Array, 'm k'], axis_name: str | None) -> Float[Array, 'm k']:
    """Subtracts the mean of the rows of all devices."""
    origin = features[0]
    if axis_name is not None:
        origin = lax.all_gather(origin, axis_name)[0]
    # The first row goes first: a mean far from zero costs no digits, and equal rows become zeros.
    features = features - origin[None]
    mean = jnp.mean(features, axis=0, keepdims=True)
    return features - (mean if axis_name is None else lax.pmean(mean, axis_name))
