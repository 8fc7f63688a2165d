"""Computes the features of a whole split with a frozen encoder.

Axes: n images, h w pixels, c channels, k features.
"""

from contextlib import closing

import jax
import numpy as np

from contrastive_jax.data.batches import padded_batches, prefetch
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.models.frozen import Encode
from contrastive_jax.runtime import distributed, progress

__all__ = ['extract_features']

# Of each device. XLA's CPU programs sum in another order where a batch has fewer images.
_LEAST_ROWS = 16


def extract_features(
    encode: Encode, images: np.ndarray | StoredImages, *, batch_size: int = 512
) -> np.ndarray:
    """Computes the features of all images, in order. Each device encodes a part of them.

    Args:
      encode: function that `encoder_function` returns.
      images: `[n, h, w, c]` uint8, in memory or on disk.
      batch_size: images at a time, rounded up to a multiple of the devices of this process, and to
        16 on each; the last batch is padded, so one size is compiled.

    Returns:
      `[n, k]` float32.
    """
    n = len(images)
    # With fewer images than processes, some processes encode an image only to know the shape.
    own = range(n)[distributed.own_rows(n)] or range(1)
    devices = jax.local_device_count()
    size = -(-max(_LEAST_ROWS * devices, min(batch_size, len(own))) // devices) * devices
    # A thread reads the next images from disk while these are encoded.
    with closing(prefetch(padded_batches(images, size, own), lambda batch: batch)) as ready:
        batches = progress.track(ready, 'features', total=-(-len(own) // size), unit='batch')
        features = [np.asarray(encode(batch))[:count] for batch, count in batches]
    return distributed.gather_rows(np.concatenate(features), n)
