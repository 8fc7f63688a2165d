"""The corruptions that a denoiser has to undo. Images are in [-1, 1].

Axes: b images, h w pixels, c channels, t levels.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from contrastive_jax.ebt.section import LEVELS
from contrastive_jax.randomness import Use, host_rng

__all__ = ['CORRUPTIONS', 'corrupt', 'signal_and_noise', 'to_signed']

# A function of images in [-1, 1] and a generator of random numbers.
Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# First and last beta of the noise schedule.
_FIRST, _LAST = 1e-4, 0.02
# Probability of a black or white pixel, largest uniform noise, and sigma of the blur in pixels.
_SALT, _UNIFORM, _BLUR = 0.15, 0.6, 0.7


def signal_and_noise() -> tuple[Float[np.ndarray, ' t'], Float[np.ndarray, ' t']]:
    """Weights of the image and of the noise at each level of the schedule, each `[LEVELS]`.

        x_t = sqrt(abar_t) x + sqrt(1 - abar_t) e,  abar_t = prod_u<=t (1 - beta_u)

    The values beta are evenly spaced from 1e-4 to 0.02.

    Source: Ho et al. 2020, Section 4.
    """
    remaining = np.cumprod(1 - np.linspace(_FIRST, _LAST, LEVELS))
    return np.sqrt(remaining).astype(np.float32), np.sqrt(1 - remaining).astype(np.float32)


def to_signed(images):
    """Converts uint8 images to float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def _gaussian(level, images, rng):
    signal, noise = signal_and_noise()
    return signal[level] * images + noise[level] * rng.normal(size=images.shape)


def _salt(images, rng):
    """Turns each pixel, in all its channels, black or white with a probability of 0.15."""
    pixels = (*images.shape[:-1], 1)
    colour = np.where(rng.random(pixels) < 0.5, -1.0, 1.0)
    return np.where(rng.random(pixels) < _SALT, colour, images)


def _uniform(images, rng):
    return images + rng.uniform(-_UNIFORM, _UNIFORM, images.shape)


def _blur(images, rng):
    return gaussian_filter(images, (0, _BLUR, _BLUR, 0))


CORRUPTIONS: dict[str, Corruption] = {
    **{f'gaussian {level}': partial(_gaussian, level) for level in (49, 99, 199, 299)},
    'salt and pepper': _salt,
    'uniform': _uniform,
    'blur': _blur,
}


def corrupt(
    images: Float[np.ndarray, 'b h w c'], kind: str, seed: int
) -> Float[np.ndarray, 'b h w c']:
    """Corrupts images in one of the ways of `CORRUPTIONS`, or by Gaussian noise of another level.

    These are Gaussian noise at a level of the schedule, which also scales the image; black or white
    pixels with probability 0.15, in all channels alike; uniform noise from -0.6 to 0.6 in each
    channel; and Gaussian blur with a sigma of 0.7 pixels.

    Args:
      images: `[b, h, w, c]` in [-1, 1].
      kind: name of a corruption, a key of `CORRUPTIONS` or `gaussian LEVEL`.
      seed: seed of the noise. Each kind has its own stream of random numbers.

    Returns:
      `[b, h, w, c]` float32; some values may lie outside [-1, 1].
    """
    if kind in CORRUPTIONS:
        stream, corruption = list(CORRUPTIONS).index(kind), CORRUPTIONS[kind]
    else:
        level = int(kind.removeprefix('gaussian '))
        stream, corruption = len(CORRUPTIONS) + level, partial(_gaussian, level)
    return corruption(images, host_rng(Use.CORRUPTION, seed, stream)).astype(np.float32)
