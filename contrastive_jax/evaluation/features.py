"""Features of a whole split from a frozen encoder.

Axes: n images, h w pixels, c channels, k features, t tokens of p numbers.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.runtime import distributed, progress

__all__ = ['encoder_function', 'extract_features', 'token_function']

# Of fewer images at a time XLA's CPU programs take sums in another order.
_LEAST_ROWS = 16


def encoder_function(graphdef: nnx.GraphDef, params: Any, stats: Any) -> Callable:
    """A jitted function from uint8 images `[b, h, w, c]` to features `[b, k]`, nothing learnt.

    Batch norm uses its running statistics, and there is no augmentation.
    """

    @jax.jit
    def encode(params, stats, images):
        model = nnx.merge(graphdef, params, stats, copy=True)
        return model.encode(images.astype(jnp.float32) / 255, train=False)

    return lambda images: encode(params, stats, images)


def token_function(graphdef: nnx.GraphDef, params: Any, stats: Any) -> Callable:
    """From images `[b, h, w, c]` in [0, 1] to features `[b, k]` and tokens `[b, t, p]`.

    A pytree with the frozen weights as leaves: a jitted function takes it as an argument, so that
    they are not compiled in.
    """

    def both(params, stats, images):
        model = nnx.merge(graphdef, params, stats, copy=True)
        return model.features_and_tokens(images)

    return jax.tree_util.Partial(both, params, stats)


def extract_features(
    encode: Callable,
    images: np.ndarray | StoredImages,
    *,
    batch_size: int = 512,
    name: str = 'features',
) -> np.ndarray:
    """Features of all images, in order; each process encodes its part of them.

    Args:
      encode: what `encoder_function` returns.
      images: `[n, h, w, c]` uint8, in memory or on disk.
      batch_size: images at a time; the last batch is padded, so that one size is compiled.
      name: shown by the progress bar.

    Returns:
      `[n, k]` float32.
    """
    n = len(images)
    # With fewer images than processes, some encode one for its shape alone.
    own = range(n)[distributed.own_rows(n)] or range(1)
    size = min(batch_size, max(len(own), _LEAST_ROWS))
    batches = progress.track(
        padded_batches(images, size, own), name, total=-(-len(own) // size), unit='batch'
    )
    features = [np.asarray(encode(batch))[:real] for batch, real in batches]
    return distributed.gather_rows(np.concatenate(features), n)
