"""omega-mixed images: some images are averaged with an image of another class.

The mixed samples lie between two classes, so it is known which samples are difficult.

Axes: n images, m of them mixed, h w pixels, c channels.
"""

import math
from typing import NamedTuple

import numpy as np

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.numerics import exact_share
from contrastive_jax.randomness import Use, host_rng

__all__ = ['Mixed', 'draw_mixtures', 'mix']

# Images mixed at a time. The search for a gain holds several float copies of them.
_CHUNK = 512
_LARGEST_GAIN = 64.0


class Mixed(NamedTuple):
    """Images of which some are mixed.

    Attributes:
      images: `[n, h, w, c]` uint8, in memory; or on disk, where none is mixed.
      indices: `[m]` indices of the mixed images, ascending.
      partners: `[m]` index of the image that each was mixed with.
    """

    images: np.ndarray | StoredImages
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

    Images and partners are drawn uniformly; partners are unmixed images. With one seed, a larger
    ratio mixes every image that a smaller ratio mixes, with the same partners.

    An average of two images has less contrast than either. `match_contrast` scales the pixels about
    their mean, by one factor for each image, until their standard deviation is that of `x_i`, or as
    close as clipping to [0, 255] allows.

    Args:
      images: `[n, h, w, c]` uint8.
      labels: `[n]` classes, at least two.
      ratio: in [0, 1].
      seed: seed of all draws.
      weight: lambda, in [0, 1].
      match_contrast: give each mixed image the contrast of its source.

    Returns:
      A copy of the images `[n, h, w, c]` uint8, some of them mixed; `[m]` indices of the mixed
      images, ascending; and `[m]` indices of their partners.

    Source: Section 3.1 and Figure 2 (omega-Mixed CIFAR-10); drawing and contrast are ours.
    """
    indices, partners = draw_mixtures(labels, ratio=ratio, seed=seed)
    mixed = images.copy()
    for start in range(0, len(indices), _CHUNK):
        rows = slice(start, start + _CHUNK)
        source = images[indices[rows]].astype(np.float32)
        blend = weight * source + (1 - weight) * images[partners[rows]]
        if match_contrast:
            blend = _with_contrast(blend, source.std(axis=(1, 2, 3), keepdims=True))
        mixed[indices[rows]] = np.round(blend).astype(np.uint8)
    return Mixed(mixed, indices, partners)


def draw_mixtures(labels: np.ndarray, *, ratio: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that `mix` mixes, ascending, and their partners, each `[m]`."""
    n = len(labels)
    rng = host_rng(Use.MIXING, seed)
    order, chance = rng.permutation(n), rng.random(n)
    indices = np.sort(order[: math.floor(exact_share(ratio, n))])
    return indices, _partners(labels, chance)[indices]


def _partners(labels: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """For each image an image of another class, chosen by its `chance` in [0, 1)."""
    by_class = np.argsort(labels, kind='stable')
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    first, size = (np.cumsum(sizes) - sizes)[class_of], sizes[class_of]
    # A position in the order by class, where the image's own class is skipped.
    position = np.floor(chance * (len(labels) - size)).astype(np.int64)
    return by_class[np.where(position < first, position, position + size)]


def _with_contrast(images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Scales images about their means to given standard deviations, clipped to [0, 255]."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)

    def scaled(gain):
        return np.clip(mean + gain * (images - mean), 0, 255)

    # Clipping reduces the contrast, so the gain is found by bisection.
    low, high = np.zeros_like(wanted), np.full_like(wanted, _LARGEST_GAIN)
    for _ in range(20):
        gain = (low + high) / 2
        less = scaled(gain).std(axis=(1, 2, 3), keepdims=True) < wanted
        low, high = np.where(less, gain, low), np.where(less, high, gain)
    return scaled(low)
