"""Functions of images with trained weights.

Axes: b images, h w pixels, c channels, k features, t tokens of p numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

__all__ = ['Encode', 'encoder_function', 'token_function']

# A function from uint8 images `[b, h, w, c]` to features `[b, k]`.
Encode = Callable[[Any], Array]


def encoder_function(graphdef: nnx.GraphDef, params: Any, stats: Any) -> Encode:
    """Returns a jitted function from uint8 images `[b, h, w, c]` to features `[b, k]`.

    Batch norm uses its running statistics, and images are not augmented. A batch is split over the
    devices of this process; if their number does not divide b, each device encodes all of it.

    Args:
      graphdef: static description of the model.
      params: its parameters.
      stats: its batch statistics.

    Returns:
      A function that takes an array of NumPy or JAX and returns one of JAX.
    """
    mesh = Mesh(np.array(jax.local_devices()), ('devices',))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (('devices',), ()))
    # Once, so that no batch has to wait for the weights.
    weights = jax.device_put((params, stats), everywhere)
    try:
        hash(graphdef)
    except TypeError:
        # A layer of one's own may hold a list, with which it cannot share a program.
        encode: Callable = jax.jit(partial(_encode, graphdef))
    else:
        encode = partial(_encode_together, graphdef)

    def split_and_encode(images):
        uneven = len(images) % mesh.size != 0
        return encode(*weights, jax.device_put(images, everywhere if uneven else rows))

    return split_and_encode


def _encode(graphdef: nnx.GraphDef, params: Any, stats: Any, images: Array) -> Array:
    """Encodes uint8 images with the weights of a model, in evaluation."""
    model = nnx.merge(graphdef, params, stats, copy=True)
    return model.encode(images.astype(jnp.float32) / 255, train=False)


# Encoders of one architecture share one program.
_encode_together = jax.jit(_encode, static_argnums=0)


def token_function(graphdef: nnx.GraphDef, params: Any, stats: Any) -> Callable:
    """Returns a function from images `[b, h, w, c]` in [0, 1] to features and tokens.

    The features are `[b, k]`, and the tokens `[b, t, p]`. The function is a pytree with the weights
    as leaves. A jitted function takes it as an argument, so the weights do not become constants of
    the program.

    Args:
      graphdef: static description of the model.
      params: its parameters.
      stats: its batch statistics.

    Returns:
      A function whose results are `[b, k]` and `[b, t, p]`, both float32.
    """

    def features_and_tokens(params, stats, images):
        model = nnx.merge(graphdef, params, stats, copy=True)
        return model.features_and_tokens(images)

    return jax.tree_util.Partial(features_and_tokens, params, stats)
