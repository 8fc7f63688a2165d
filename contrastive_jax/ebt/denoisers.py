"""Denoisers of equal size: an energy, a single pass, and diffusion. Images are in [-1, 1].

Axes: b images, h w pixels, c channels, k features, d width.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from contrastive_jax.ebt.section import SIZES
from contrastive_jax.ebt.transformer import EnergyTransformer, Transformer, patches, unpatch
from contrastive_jax.models import Context, Moments

__all__ = ['Denoiser', 'Diffusion', 'EnergyDenoiser', 'FeedForward', 'make_denoiser']

# Longest period of the embedding of a noise level, over 2 pi.
_LONGEST = 10_000.0


class EnergyDenoiser(nnx.Module):
    """An energy of clean images, which is low for a likely image.

    The unconditioned energy depends on the image only, and descent starts at the noisy image, as in
    the reference code. The conditioned energy also depends on the noisy image, and descent starts
    anywhere, as in Algorithm 1 of the paper.
    """

    def __init__(
        self,
        options: ConfigDict,
        channels: int,
        *,
        conditioned: bool,
        step_size: float,
        ctx: Context,
    ):
        """Builds the layers.

        Args:
          options: section `model` of a config.
          channels: number c of channels.
          conditioned: whether the noisy image is an input.
          step_size: initial size of a step of thinking for each token.
          ctx: what all layers share.
        """
        self.patch, self.conditioned = options.patch, conditioned
        self.transformer = EnergyTransformer(
            options.patch**2 * channels,
            SIZES[options.size],
            segments=2 if conditioned else 1,
            of_second=conditioned,
            step_size=step_size,
            ctx=ctx,
        )

    def energy(
        self, candidate: Float[Array, 'b h w c'], noisy: Float[Array, 'b h w c']
    ) -> Float[Array, ' b']:
        """Energies of the candidates; each one belongs to the noisy image with the same index."""
        tokens = patches(candidate, self.patch)
        if not self.conditioned:
            return self.transformer(tokens)
        return self.transformer(patches(noisy, self.patch), tokens)

    def step_size(self, images: Float[Array, 'b h w c']) -> tuple[Array, Array]:
        """Size of a step of thinking for images of this shape, and 1 if it was clipped, else 0."""
        return self.transformer.step_size((images.shape[1] // self.patch) ** 2)

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Features of images in [0, 1]. If conditioned, each image also serves as noisy image."""
        tokens = patches(2 * images - 1, self.patch)
        twice = jnp.concatenate([tokens, tokens], axis=1) if self.conditioned else tokens
        return self.transformer.trunk.features(twice)


class FeedForward(nnx.Module):
    """The same transformer in one pass: it adds its output to the noisy image.

    At the start of training the output is zero.
    """

    def __init__(self, options: ConfigDict, channels: int, *, ctx: Context):
        """Builds the layers; arguments as `EnergyDenoiser`."""
        self.patch, size = options.patch, SIZES[options.size]
        token_dim = options.patch**2 * channels
        self.trunk = Transformer(token_dim, size, ctx=ctx)
        self.head = _zero_linear(size.width, token_dim, ctx)

    def __call__(self, noisy: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
        """The denoised images."""
        change = self.head(self.trunk(patches(noisy, self.patch)))
        return noisy + unpatch(change.astype(jnp.float32), self.patch)

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Features of images in [0, 1]."""
        return self.trunk.features(patches(2 * images - 1, self.patch))


class Diffusion(nnx.Module):
    """The same transformer, conditioned on the level of the noise, estimates the noise.

    Source: Peebles & Xie 2023.
    """

    def __init__(self, options: ConfigDict, channels: int, *, ctx: Context):
        """Builds the layers; arguments as `EnergyDenoiser`."""
        self.patch, size = options.patch, SIZES[options.size]
        token_dim = options.patch**2 * channels
        self.trunk = Transformer(token_dim, size, conditioned=True, ctx=ctx)
        self.level = nnx.Linear(size.width, size.width, dtype=ctx.dtype, rngs=ctx.rngs)
        self.head = _zero_linear(size.width, token_dim, ctx)

    def __call__(
        self, noisy: Float[Array, 'b h w c'], level: Int[Array, ' b']
    ) -> Float[Array, 'b h w c']:
        """The noise in each image, scaled to standard deviation 1."""
        outputs = self.trunk(patches(noisy, self.patch), self._condition(level))
        return unpatch(self.head(outputs).astype(jnp.float32), self.patch)

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Features of images in [0, 1], at the lowest level of noise."""
        lowest = self._condition(jnp.zeros(len(images), jnp.int32))
        return self.trunk.features(patches(2 * images - 1, self.patch), lowest)

    def _condition(self, level: Int[Array, ' b']) -> Float[Array, 'b d']:
        half = self.level.in_features // 2
        frequencies = _LONGEST ** -(jnp.arange(half) / half)
        angles = level[:, None].astype(jnp.float32) * frequencies[None]
        return self.level(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1))


Denoiser = EnergyDenoiser | FeedForward | Diffusion


def make_denoiser(config: ConfigDict, moments: Moments, ctx: Context) -> Denoiser:
    """The denoiser that `config.model.name` names.

    Args:
      config: the whole config.
      moments: pixel moments of the training images; only their number, c, is used.
      ctx: what all layers share.
    """
    channels = len(moments.mean)
    if config.model.name == 'feedforward':
        return FeedForward(config.model, channels, ctx=ctx)
    if config.model.name == 'diffusion':
        return Diffusion(config.model, channels, ctx=ctx)
    return EnergyDenoiser(
        config.model,
        channels,
        conditioned=config.model.name == 'energy_conditioned',
        step_size=config.denoise.step_size,
        ctx=ctx,
    )


def _zero_linear(width: int, out: int, ctx: Context) -> nnx.Linear:
    zeros = nnx.initializers.zeros
    return nnx.Linear(width, out, kernel_init=zeros, dtype=ctx.dtype, rngs=ctx.rngs)
