"""The model of contrastive pre-training: an encoder, and a projector for the loss.

Axes: b images, h w pixels, c channels, k features, t tokens of p numbers, d embedding.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from contrastive_jax.models.context import Context, Moments
from contrastive_jax.models.encoders import ConvNet, ResNet

__all__ = ['ContrastiveModel']


class Projector(nnx.Module):
    """Two-layer perceptron, `W2 relu(W1 x + b1) + b2`.

    Source: Chen et al. 2020, Section 4.2.
    """

    def __init__(self, num_features: int, *, width: int, dim: int, ctx: Context):
        """Builds the layers.

        Args:
          num_features: number k of input features.
          width: width of the hidden layer.
          dim: dimension d of the embedding.
          ctx: what all layers share.
        """
        self.hidden = nnx.Linear(num_features, width, dtype=ctx.dtype, rngs=ctx.rngs)
        self.out = nnx.Linear(width, dim, dtype=ctx.dtype, rngs=ctx.rngs)

    def __call__(self, features: Float[Array, 'b k']) -> Float[Array, 'b d']:
        """Returns the embeddings, `[b, d]` float32."""
        return self.out(nnx.relu(self.hidden(features))).astype(jnp.float32)


class ContrastiveModel(nnx.Module):
    """An encoder and a projector, which normalise the pixels first."""

    def __init__(self, options: ConfigDict, moments: Moments, ctx: Context):
        """Builds the encoder and the projector that a config names.

        Args:
          options: section `model` of a config.
          moments: pixel moments of the training images, which also give the number of channels.
          ctx: what all layers share.
        """
        self.moments = moments
        channels = len(moments.mean)
        self.encoder: ConvNet | ResNet
        if options.name == 'conv':
            self.encoder = ConvNet(channels, width=options.width, ctx=ctx)
        else:
            depth = int(options.name.removeprefix('resnet'))
            self.encoder = ResNet(
                channels, depth=depth, width=options.width, stem=options.stem, ctx=ctx
            )
        self.projector = Projector(
            self.encoder.num_features,
            width=options.projector_width,
            dim=options.projector_dim,
            ctx=ctx,
        )

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Returns the features of images, the input of the projector.

        Args:
          images: `[b, h, w, c]` in [0, 1].
          train: whether batch norm uses the statistics of this batch and updates the running ones.

        Returns:
          `[b, k]` float32.
        """
        return self.encoder(self._normalized(images), train)

    def features_and_tokens(
        self, images: Float[Array, 'b h w c']
    ) -> tuple[Float[Array, 'b k'], Float[Array, 'b t p']]:
        """Returns features in evaluation, and tokens of the grid before the last stage.

        Args:
          images: `[b, h, w, c]` in [0, 1].

        Returns:
          `[b, k]`, and `[b, t, p]` of a square grid of at most 4 x 4, both float32.
        """
        return self.encoder.features_and_tokens(self._normalized(images))

    def _normalized(self, images: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
        mean, std = (jnp.asarray(moment, jnp.float32) for moment in self.moments)
        return (images - mean[None, None, None]) / std[None, None, None]

    @jax.named_scope('model')
    def __call__(
        self, images: Float[Array, 'b h w c'], *, train: bool
    ) -> tuple[Float[Array, 'b k'], Float[Array, 'b d']]:
        """Returns features (inputs of the projector) and embeddings (its outputs), both float32."""
        features = self.encode(images, train=train)
        return features, self.projector(features)
