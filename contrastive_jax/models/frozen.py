"""Trained weights as functions of images.

Axes: b images, h w pixels, c channels, k features, t tokens of p numbers.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

__all__ = ['encoder_function', 'token_function']


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
