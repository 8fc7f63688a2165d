"""The rows of the similarity graph: the samples of this device against those of all devices.

Axes: m anchors of this device, n rows of all devices, k features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.graph._inputs import FeatureRows, check_features
from contrastive_jax.numerics import check_not_masked, cosines, count_true, gather, unit_rows

__all__ = ['GraphAnchors', 'as_checked', 'chosen_mean', 'masked_mean', 'sample_anchors']


class GraphAnchors(NamedTuple):
    """Samples of this device.

    Attributes:
      unit: `[m, k]` unit rows.
      index: `[m]` index of each anchor among the n rows.
    """

    unit: Float[Array, '*m k']
    # The field hides `tuple.index`, which nobody calls on these.
    index: Int[Array, '*m']  # type: ignore[assignment]

    def others(self, n: int) -> Bool[Array, ' n']:
        """Mask of the rows that are not this anchor."""
        return jnp.arange(n, dtype=jnp.int32) != self.index

    def masked_similarities(self, rows: Float[Array, 'n k']) -> Float[Array, ' n']:
        """Cosines of one anchor with all rows, `-inf` with itself."""
        return jnp.where(self.others(len(rows)), cosines(rows, self.unit), -jnp.inf)


def as_checked(features: FeatureRows, axis_name: str | None) -> tuple[Float[Array, 'm k'], int]:
    """Features as float32, and the number of rows of all devices.

    Raises:
      ValueError: a masked array; unless traced, a row that is zero or not finite, no rows.
    """
    check_not_masked('features', features)
    # On the host, because JAX has no arrays of another byte order, as files may hold.
    if isinstance(features, np.ndarray):
        features = features.astype(np.float32, copy=False)
    features = jnp.asarray(features, jnp.float32)
    # Traced features have no values to check: the caller of `jit` or `pmap` checks them outside.
    if not isinstance(features, jax.core.Tracer):
        check_features(features)
    return features, len(features) * (1 if axis_name is None else lax.axis_size(axis_name))


def sample_anchors(
    features: Float[Array, 'm k'], center: bool, axis_name: str | None
) -> tuple[GraphAnchors, Float[Array, 'n k']]:
    """Unit rows of the samples of this device, and those of all devices, without gradient."""
    features = lax.stop_gradient(features)
    unit = unit_rows(_centered(features, axis_name) if center else features)
    first = 0 if axis_name is None else lax.axis_index(axis_name) * len(unit)
    return GraphAnchors(unit, first + jnp.arange(len(unit), dtype=jnp.int32)), gather(
        unit, axis_name
    )


def _centered(features: Float[Array, 'm k'], axis_name: str | None) -> Float[Array, 'm k']:
    """Subtracts the mean of the rows of all devices."""
    # The first row is subtracted before the mean is taken: a mean far from zero then costs no
    # digits, and equal rows become exact zeros.
    origin = features[0]
    if axis_name is not None:
        origin = lax.all_gather(origin, axis_name)[0]
    features = features - origin[None]
    mean = jnp.mean(features, axis=0, keepdims=True)
    return features - (mean if axis_name is None else lax.pmean(mean, axis_name))


def masked_mean(
    values: Float[Array, ' n'], mask: Bool[Array, ' n'], size: Int[Array, '']
) -> Float[Array, '']:
    """Mean of the `size` values that the mask marks; 0 of none."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(size, 1).astype(jnp.float32)


def chosen_mean(values: Float[Array, ' n'], chosen: Bool[Array, ' n']) -> Float[Array, '']:
    """Mean of the chosen values; 0 of none."""
    (size,) = count_true([chosen])
    return masked_mean(values, chosen, size)
