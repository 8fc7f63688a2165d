"""omega-mixed images: a part of the data, each averaged with an image of another class.

Samples made to lie between two classes, so that it is known which ones are difficult.

Axes: n images, m of them mixed, h w pixels, c channels.
"""

import math
from typing import NamedTuple

import numpy as np

from contrastive_jax.numerics import exact_share
from contrastive_jax.randomness import Use, host_rng

__all__ = ['Mixed', 'mix']

# Images at a time: the search for a gain holds them several times over, in floats.
_CHUNK = 512
_LARGEST_GAIN = 64.0


class Mixed(NamedTuple):
    """Images of which some are mixed.

    Attributes:
      images: `[n, h, w, c]` uint8.
      indices: `[m]` those that are mixed, ascending.
      partners: `[m]` the image that each was mixed with.
    """

    images: np.ndarray
    indices: np.ndarray
    partners: np.ndarray


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    ratio: float,
    seed: int,
    weight: float = 0.5,
    match_contrast: bool = False,
) -> Mixed:
    """Mixes `m = floor(ratio n)` images pixel by pixel, each with one of another class.

        mixed_i = weight x_i + (1 - weight) x_partner(i)

    Images and partners are drawn uniformly; partners are images as they were before any mixing.
    With one seed a larger ratio mixes what a smaller one mixes, and with the same partners.

    An average of two images is flatter than either. With `match_contrast` the pixels are moved away
    from their mean, by one factor for an image, until their standard deviation is that of `x_i`
    again, or as near to it as black and white allow.

    Args:
      images: `[n, h, w, c]` uint8.
      labels: `[n]` classes, at least two.
      ratio: in [0, 1].
      seed: of all draws.
      weight: lambda, in [0, 1].
      match_contrast: give each mixed image the contrast of its source.

    Source: Section 3.1 and Figure 2 (omega-Mixed CIFAR-10); the drawing and the contrast are ours.
    """
    n = len(images)
    rng = host_rng(Use.MIXING, seed)
    order, chance = rng.permutation(n), rng.random(n)
    indices = np.sort(order[: math.floor(exact_share(ratio, n))])
    partners = _partners(labels, chance)[indices]
    mixed = images.copy()
    for start in range(0, len(indices), _CHUNK):
        rows = slice(start, start + _CHUNK)
        source = images[indices[rows]].astype(np.float32)
        blend = weight * source + (1 - weight) * images[partners[rows]]
        if match_contrast:
            blend = _with_contrast(blend, source.std(axis=(1, 2, 3), keepdims=True))
        mixed[indices[rows]] = np.round(blend).astype(np.uint8)
    return Mixed(mixed, indices, partners)


def _partners(labels: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """For each image one of another class, by its chance in [0, 1)."""
    by_class = np.argsort(labels, kind='stable')
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    first, size = (np.cumsum(sizes) - sizes)[class_of], sizes[class_of]
    # A place in the order by class, out of those that its own class leaves.
    place = np.floor(chance * (len(labels) - size)).astype(np.int64)
    return by_class[np.where(place < first, place, place + size)]


def _with_contrast(images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Scales images about their means to the standard deviations wanted, clipped to [0, 255]."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)

    def scaled(gain):
        return np.clip(mean + gain * (images - mean), 0, 255)

    # Clipping takes contrast away again, so the gain is searched for.
    low, high = np.zeros_like(wanted), np.full_like(wanted, _LARGEST_GAIN)
    for _ in range(20):
        gain = (low + high) / 2
        less = scaled(gain).std(axis=(1, 2, 3), keepdims=True) < wanted
        low, high = np.where(less, gain, low), np.where(less, high, gain)
    return scaled(low)
