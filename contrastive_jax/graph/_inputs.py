"""Input of the scores: features of a whole data set, and classes of its samples.

Axes: n samples, k features.
"""

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.numerics import check_not_masked

# Features of a data set come from files (NumPy) as well as from devices (JAX).
FeatureRows = Float[Array, 'n k'] | Float[np.ndarray, 'n k']
Classes = Int[Array, ' n'] | Int[np.ndarray, ' n']

# The sum of a hundred million such values is still finite in float32.
_LARGEST = 1e30


def check_features(features: FeatureRows) -> None:
    """Raises ValueError if there are no rows, or a row is zero, masked or not finite."""
    check_not_masked('features', features)
    if features.ndim != 2 or features.size == 0:
        raise ValueError(
            f'features of shape {features.shape}: need [n, k], a row for each of n > 0 samples'
        )
    # Half precision has no number as large as the bound.
    largest = np.abs(np.asarray(features)).max(axis=1).astype(np.float64)
    # A comparison with NaN is False, so its negation rejects NaN as well.
    _reject(~(largest < _LARGEST), f'NaN, infinity or more than {_LARGEST:.0e}')
    _reject(largest == 0, 'only zeros, so that it has no direction')


def _reject(bad: Bool[np.ndarray, ' n'], what: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ValueError(
            f'features: row {rows[0]} holds {what} ({len(rows)} such rows); leave these samples '
            'out, or look at the encoder that made them'
        )


def class_members(classes: Classes) -> list[Int[np.ndarray, ' _']]:
    """Indices of the samples of each class."""
    classes = np.asarray(classes)
    return [np.flatnonzero(classes == name) for name in np.unique(classes)]


def positive_cosines(
    some: Float[np.ndarray, 'm k'], unit: Float[np.ndarray, 'n k']
) -> Float[np.ndarray, 'm n']:
    """`D_ij = max(cos(z_i, z_j), 0)` of some unit rows with all unit rows of their class."""
    similarity = some @ unit.T
    return np.maximum(similarity, 0, out=similarity)
