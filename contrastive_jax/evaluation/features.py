"""Computes the features of a whole split with a frozen encoder.

Axes: n images, h w pixels, c channels, k features.
"""

import numpy as np

from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.models.frozen import Encode
from contrastive_jax.runtime import distributed, progress

__all__ = ['extract_features']

# XLA's CPU programs sum in another order where a batch has fewer images.
_LEAST_ROWS = 16


def extract_features(
    encode: Encode,
    images: np.ndarray | StoredImages,
    *,
    batch_size: int = 512,
    name: str = 'features',
) -> np.ndarray:
    """Computes the features of all images, in order. Each process encodes a part of them.

    Args:
      encode: function that `encoder_function` returns.
      images: `[n, h, w, c]` uint8, in memory or on disk.
      batch_size: images at a time; the last batch is padded, so one size is compiled.
      name: name that the progress bar shows.

    Returns:
      `[n, k]` float32.
    """
    n = len(images)
    # With fewer images than processes, some processes encode an image only to know the shape.
    own = range(n)[distributed.own_rows(n)] or range(1)
    size = min(batch_size, max(len(own), _LEAST_ROWS))
    batches = progress.track(
        padded_batches(images, size, own), name, total=-(-len(own) // size), unit='batch'
    )
    features = [np.asarray(encode(batch))[:count] for batch, count in batches]
    return distributed.gather_rows(np.concatenate(features), n)
