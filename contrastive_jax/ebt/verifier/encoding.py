"""Encodes images with the frozen encoder, with and without augmentation.

Axes: b images or rows of m images, n images of a data set, h w pixels, c channels, k features,
t tokens of p numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.ebt.transformer import layer_norm
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.numerics import unit_rows
from contrastive_jax.runtime import progress
from contrastive_jax.training.augmentation import augment

__all__ = ['Bank', 'TokenEncoder', 'encode', 'encode_all', 'encode_views', 'make_bank']

_BATCH = 512


class TokenEncoder(NamedTuple):
    """A frozen encoder.

    Attributes:
      tokens: function that `models.frozen.token_function` returns.
      mean: `[k]` mean of the features of the training images.
    """

    tokens: Callable
    mean: Float[Array, ' k']


class Bank(NamedTuple):
    """The encodings of a data set.

    Attributes:
      clean: encodings of the images without augmentation.
      views: encodings of the images in each of several augmentations.
    """

    clean: Encoded
    views: tuple[Encoded, ...]


def encode(encoder: TokenEncoder, images: Float[Array, 'b h w c']) -> Encoded:
    """Encodes images as centred directions, and as tokens of mean 0 and variance 1, in float32."""
    features, tokens = encoder.tokens(images)
    return Encoded(unit_rows(features - encoder.mean[None]), layer_norm(tokens))


def encode_all(
    encoder: TokenEncoder,
    images: np.ndarray | StoredImages,
    augmentation: ConfigDict | None = None,
    key: Key[Array, ''] | None = None,
) -> Encoded:
    """Encodes uint8 images `[n, h, w, c]`, a batch at a time.

    Args:
      encoder: frozen encoder.
      images: images in memory or on disk.
      augmentation: section `augment` of a config, to augment each image once; None not to augment.
      key: random key of the augmentation, or None without one.
    """
    frozen = None if augmentation is None else FrozenConfigDict(augmentation)
    size, parts = min(_BATCH, len(images)), []
    for number, (batch, real) in enumerate(padded_batches(images, size)):
        indices = number * size + jnp.arange(size)
        parts.append(
            jax.tree.map(
                lambda x, real=real: x[:real], _encode(encoder, batch, key, indices, frozen)
            )
        )
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


@partial(jax.jit, static_argnames='augmentation')
def _encode(
    encoder: TokenEncoder,
    batch: UInt8[Array, 'b h w c'],
    key: Key[Array, ''] | None,
    indices: Int[Array, ' b'],
    augmentation: FrozenConfigDict | None,
) -> Encoded:
    images = batch.astype(jnp.float32) / 255
    if augmentation is not None and key is not None:
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
        images = jax.vmap(lambda key, image: augment(key, image, augmentation))(keys, images)
    return encode(encoder, images)


@partial(jax.jit, static_argnames='augmentation')
def encode_views(
    key: Key[Array, ''],
    encoder: TokenEncoder,
    images: UInt8[Array, 'b m h w c'],
    augmentation: FrozenConfigDict,
) -> tuple[Encoded, Float[Array, ' b']]:
    """Encodes an augmentation of each image, and for each anchor a mixture of two images.

    Args:
      key: random key of augmentations and mixtures.
      encoder: frozen encoder.
      images: `[b, m, h, w, c]`; each row holds an anchor, its positive and its negatives.
      augmentation: section `augment` of a config.

    Returns:
      Encodings `[b, m + 1, ...]` of the images in their order, and of the positive mixed with the
      first negative, pixel by pixel; and the share `[b]` of the positive in the mixture.
    """
    view_key, mix_key = jax.random.split(key)
    pixels = images.astype(jnp.float32) / 255
    b, m = pixels.shape[:2]
    keys = jax.random.split(view_key, b * m)
    flat = pixels.reshape(b * m, *pixels.shape[2:])
    views = jax.vmap(lambda key, image: augment(key, image, augmentation))(keys, flat)
    views = views.reshape(pixels.shape)
    mixing = jax.random.uniform(mix_key, (b,))
    share = mixing[:, None, None, None]
    mixed = share * views[:, 1] + (1 - share) * views[:, 2]
    inputs = jnp.concatenate([views, mixed[:, None]], axis=1)
    encoded = encode(encoder, inputs.reshape(-1, *inputs.shape[2:]))
    return jax.tree.map(lambda x: x.reshape(b, m + 1, *x.shape[1:]), encoded), mixing


def make_bank(
    encoder: TokenEncoder,
    images: np.ndarray | StoredImages,
    augmentation: ConfigDict,
    key: Key[Array, ''],
    *,
    views: int,
) -> Bank:
    """Encodes images without augmentation and in several augmentations.

    Args:
      encoder: frozen encoder.
      images: uint8 `[n, h, w, c]`.
      augmentation: section `augment` of a config.
      key: random key of the augmentations.
      views: number of augmentations.
    """
    keys = jax.random.split(key, views)
    tracked = progress.track(keys, 'encode', unit='view')
    encoded = tuple(encode_all(encoder, images, augmentation, view_key) for view_key in tracked)
    return Bank(encode_all(encoder, images), encoded)
