"""The settings that all layers of a model share, and the pixel moments of its data.

Axes: n images, h height, w width, c channels.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

__all__ = ['Context', 'Moments', 'compute_dtype', 'pixel_moments']


_PIXELS_AT_ONCE = 2**22


class Context(NamedTuple):
    """The settings that all layers of a model share.

    Attributes:
      rngs: source of the initial parameters.
      dtype: type of the computation. Parameters and batch statistics are float32.
      axis_name: name of the mapped axis over which batch norm averages; None to average over one
        device.
    """

    rngs: nnx.Rngs
    dtype: Any = jnp.float32
    axis_name: str | None = None


class Moments(NamedTuple):
    """Mean and standard deviation of each channel over the training images, pixels in [0, 1].

    Of images on disk they are those of a fixed sample, see `data.stored.in_memory`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def pixel_moments(images: np.ndarray) -> Moments:
    """Measures the moments of uint8 images `[n, h, w, c]` exactly, from counts of the 256 values.

    Constants of another data set would be a silent mistake.

    Args:
      images: uint8 `[n, h, w, c]`, n at least 1.

    Returns:
      Mean and standard deviation of each channel, of pixels in [0, 1].
    """
    values = np.arange(256) / 255
    # NumPy counts integers of eight bytes, so it is given some images at a time.
    some = max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    moments = []
    for channel in range(images.shape[-1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(images), some):
            pixels = images[start : start + some, ..., channel]
            counts += np.bincount(pixels.ravel(), minlength=256)
        mean = np.average(values, weights=counts)
        std = np.sqrt(np.average(np.square(values - mean), weights=counts))
        moments.append((float(mean), float(std) or 1.0))
    return Moments(*zip(*moments, strict=True))


def compute_dtype(precision: str) -> Any:
    """The type of the computation that `config.precision` means on this machine.

    Args:
      precision: 'float32', 'bfloat16', or 'auto': float32 on CPUs, bfloat16 elsewhere.

    Returns:
      The type.
    """
    if precision == 'auto':
        precision = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
    return jnp.dtype(precision)
