"""What the room takes in: features of a whole data set, and its division into classes.

Axes: n samples, k features.
"""

import numpy as np
from jaxtyping import Array, Bool, Float, Int

# The features of a data set come from a file as often as from a device.
Features = Float[Array, 'n k'] | Float[np.ndarray, 'n k']
Classes = Int[Array, ' n'] | Int[np.ndarray, ' n']

# The sum of a hundred million of these is still a float32.
_LARGEST = 1e30


def check_features(features: Features) -> None:
    """Raises ValueError unless there are rows, and every row is finite and has a direction."""
    if features.ndim != 2 or features.size == 0:
        raise ValueError(
            f'features of shape {features.shape}: need [n, k], a row for each of n > 0 samples'
        )
    largest = np.abs(np.asarray(features)).max(axis=1)
    # Written so that NaN is caught as well.
    _reject(~(largest < _LARGEST), f'NaN, infinity or more than {_LARGEST:.0e}')
    _reject(largest == 0, 'only zeros, so that it has no direction')


def _reject(bad: Bool[np.ndarray, ' n'], what: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ValueError(
            f'features: row {rows[0]} holds {what} ({len(rows)} such rows); leave these samples '
            'out, or look at the encoder that made them'
        )


def check_classes(classes: Classes, features: Features, name: str) -> None:
    """Raises ValueError unless there is one integer for each row of the features."""
    if classes.shape != (len(features),) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f'{name} of shape {classes.shape}, type {classes.dtype}: need ({len(features)},) '
            'integers, the class of each row of features'
        )


def class_members(classes: Classes) -> list[Int[np.ndarray, '_']]:
    """Indices of the samples of each class."""
    classes = np.asarray(classes)
    return [np.flatnonzero(classes == name) for name in np.unique(classes)]


def directions(rows: Float[np.ndarray, 'c k']) -> Float[np.ndarray, 'c k']:
    """Scales rows to length one; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1.0, lengths)


def unit_rows(features: Features) -> Float[np.ndarray, 'n k']:
    """Scales each row to length one, in float64."""
    features = np.asarray(features, np.float64)
    # By the largest entry first: squares then neither overflow nor vanish.
    features = features / np.abs(features).max(axis=1, keepdims=True)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def positive_cosines(unit: Float[np.ndarray, 'n k']) -> Float[np.ndarray, 'n n']:
    """`D_ij = max(cos(z_i, z_j), 0)` of the samples of one class, the diagonal kept."""
    similarity = unit @ unit.T
    return np.maximum(similarity, 0, out=similarity)
