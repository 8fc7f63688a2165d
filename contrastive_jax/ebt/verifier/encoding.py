"""Images through the frozen encoder, as they are and augmented.

Axes: b images or rows of m of them, n of a data set, h w pixels, c channels, k features,
t tokens of p numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import FrozenConfigDict

from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.numerics import unit_rows
from contrastive_jax.runtime import progress
from contrastive_jax.training.augment import augment

__all__ = ['Bank', 'Encoder', 'encode', 'encode_all', 'encode_views', 'make_bank']

_BATCH = 512
_EPSILON = 1e-6


class Encoder(NamedTuple):
    """What `encode` needs.

    Attributes:
      tokens: what `models.frozen.token_function` returns.
      mean: `[k]` of the features of the training images.
    """

    tokens: Callable
    mean: Float[Array, ' k']


class Bank(NamedTuple):
    """A data set, encoded once.

    Attributes:
      clean: of `[n]` images as they are.
      views: of each of some augmentations of them.
    """

    clean: Encoded
    views: tuple[Encoded, ...]


def encode(encoder: Encoder, images: Float[Array, 'b h w c']) -> Encoded:
    """Centred directions, and tokens brought to mean 0 and variance 1 each; float32."""
    features, tokens = encoder.tokens(images)
    # By hand for the reason in `transformer._norm`.
    tokens = tokens - jnp.mean(tokens, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(tokens), axis=-1, keepdims=True) + _EPSILON)
    return Encoded(unit_rows(features - encoder.mean[None]), tokens * scale)


def encode_all(
    encoder: Encoder, images: np.ndarray | StoredImages, options=None, key=None
) -> Encoded:
    """Encodes uint8 images `[n, h, w, c]`, a batch at a time.

    Args:
      encoder: the frozen one.
      images: in memory or on disk.
      options: the section `augment` of a config, to augment each once; None for not at all.
      key: of the augmentation; None without one.
    """
    options = None if options is None else FrozenConfigDict(options)
    size, parts = min(_BATCH, len(images)), []
    for number, (batch, real) in enumerate(padded_batches(images, size)):
        places = number * size + jnp.arange(size)
        parts.append(
            jax.tree.map(
                lambda x, real=real: x[:real], _encode(encoder, batch, key, places, options)
            )
        )
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


@partial(jax.jit, static_argnames='options')
def _encode(encoder: Encoder, batch, key, places, options: FrozenConfigDict | None) -> Encoded:
    pictures = batch.astype(jnp.float32) / 255
    if options is not None:
        keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
        pictures = jax.vmap(lambda key, image: augment(key, image, options))(keys, pictures)
    return encode(encoder, pictures)


@partial(jax.jit, static_argnames='augmentation')
def encode_views(
    key: Key[Array, ''],
    encoder: Encoder,
    images: UInt8[Array, 'b m h w c'],
    augmentation: FrozenConfigDict,
) -> tuple[Encoded, Float[Array, ' b']]:
    """Encodes an augmentation of each image, and a mixture of two of them.

    Args:
      key: of the augmentations and mixtures.
      encoder: the frozen one.
      images: `[b, m, h, w, c]`, of each row the anchor, its positive, and the negatives.
      augmentation: the section `augment` of a config.

    Returns:
      `[b, m + 1, ...]`: the images in their order, and the positive mixed with the first negative
      in pixels; and the share of the positive in that, `[b]`.
    """
    view_key, mix_key = jax.random.split(key)
    pictures = images.astype(jnp.float32) / 255
    b, m = pictures.shape[:2]
    keys = jax.random.split(view_key, b * m)
    flat = pictures.reshape(b * m, *pictures.shape[2:])
    views = jax.vmap(lambda key, image: augment(key, image, augmentation))(keys, flat)
    views = views.reshape(pictures.shape)
    mixing = jax.random.uniform(mix_key, (b,))
    share = mixing[:, None, None, None]
    mixed = share * views[:, 1] + (1 - share) * views[:, 2]
    everyone = jnp.concatenate([views, mixed[:, None]], axis=1)
    encoded = encode(encoder, everyone.reshape(-1, *everyone.shape[2:]))
    return jax.tree.map(lambda x: x.reshape(b, m + 1, *x.shape[1:]), encoded), mixing


def make_bank(
    encoder: Encoder, images: np.ndarray | StoredImages, options, key, *, views: int
) -> Bank:
    """Encodes images as they are, and some augmentations of them.

    Args:
      encoder: the frozen one.
      images: uint8 `[n, h, w, c]`.
      options: the section `augment` of a config.
      key: of the augmentations.
      views: how many.
    """
    keys = jax.random.split(key, views)
    rows = progress.track(keys, 'encode', unit='view')
    seen = tuple(encode_all(encoder, images, options, view) for view in rows)
    return Bank(encode_all(encoder, images), seen)
