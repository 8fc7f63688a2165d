"""The untrained encoder that a trained one is compared with.

A ResNet is initialised so that every residual block is the identity: the last batch norm of a block
has scale 0. That is good to train from, but without training the convolutions of the blocks do
nothing. The baseline therefore has all scales at 1, and batch statistics as training would measure
them. Its weights are those that training starts from.

Axes: n images, h w pixels, c channels.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.randomness import Use, host_rng

__all__ = ['calibrated']

# Images of the sample, and images at a time.
_MOST_IMAGES, _BATCH = 2000, 250


def calibrated(
    graphdef: nnx.GraphDef, params: Any, stats: Any, images: np.ndarray | StoredImages
) -> tuple[Any, Any]:
    """Returns the parameters with every batch-norm scale at 1, and measured batch statistics.

    The statistics are means over batches of 250 images, without augmentation, of a sample of at
    most 2,000 images; the sample is the same for every seed and process. A model without batch
    norm is returned as it is.

    Args:
      graphdef: static description of the model, with or without a mapped axis.
      params: its parameters before the first step.
      stats: its batch statistics before the first step.
      images: `[n, h, w, c]` uint8, in memory or on disk.

    Returns:
      Parameters and batch statistics for the same description.
    """
    if not jax.tree.leaves(stats):
        return params, stats
    model = nnx.merge(graphdef, params, stats, copy=True)
    for norm in _batch_norms(model):
        if norm.scale is not None:
            norm.scale[...] = jnp.ones_like(norm.scale[...])
    params = nnx.state(model, nnx.Param)

    @jax.jit
    def measure(params, stats, images):
        model = nnx.merge(graphdef, params, stats, copy=True)
        for norm in _batch_norms(model):
            # Every process measures the whole sample on one device; momentum 0 drops `stats`.
            norm.axis_name, norm.momentum = None, 0.0
        model.encode(images.astype(jnp.float32) / 255, train=True)
        return nnx.state(model, nnx.BatchStat)

    size = min(_BATCH, len(images))
    sample = host_rng(Use.CALIBRATION, 0).permutation(len(images))[:_MOST_IMAGES]
    parts = sample[: len(sample) // size * size].reshape(-1, size)
    measured = [measure(params, stats, images[part]) for part in parts]
    return params, jax.tree.map(lambda *rows: jnp.mean(jnp.stack(rows), axis=0), *measured)


def _batch_norms(model: nnx.Module) -> Iterator[nnx.BatchNorm]:
    return (part for _, part in nnx.iter_modules(model) if isinstance(part, nnx.BatchNorm))
