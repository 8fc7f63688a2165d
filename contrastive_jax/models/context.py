"""What the layers of a model share, and what a model has to know of its data."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

__all__ = ['Context', 'Moments', 'compute_dtype', 'pixel_moments']


class Context(NamedTuple):
    """What every layer of a model shares.

    Attributes:
      rngs: source of the initial parameters.
      dtype: of the computation; parameters and batch statistics are float32.
      axis_name: mapped axis over which batch norm averages, None for each device by itself.
    """

    rngs: nnx.Rngs
    dtype: Any = jnp.float32
    axis_name: str | None = None


class Moments(NamedTuple):
    """Mean and standard deviation of each channel over the training images, pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def pixel_moments(images: np.ndarray) -> Moments:
    """Measures the moments of uint8 images `[n, h, w, c]`, exactly, from counts of the 256 values.

    Measured, not looked up: constants of another data set are a quiet mistake.
    """
    values = np.arange(256) / 255
    moments = []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = np.average(values, weights=counts)
        std = np.sqrt(np.average(np.square(values - mean), weights=counts))
        moments.append((float(mean), float(std) or 1.0))
    return Moments(*zip(*moments, strict=True))


def compute_dtype(precision: str) -> Any:
    """The type that `config.precision` asks for on this machine."""
    if precision == 'auto':
        precision = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
    return jnp.dtype(precision)
