"""Denoisers of equal size: by an energy, in one pass, and by diffusion; images in [-1, 1].

Axes: b images, h w pixels, c channels, k features.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from contrastive_jax.ebt.section import SIZES
from contrastive_jax.ebt.transformer import EnergyTransformer, Transformer, patches, unpatch
from contrastive_jax.models import Context, Moments

__all__ = ['Diffusion', 'EnergyDenoiser', 'FeedForward', 'make_denoiser']

# Lowest frequency of the embedding of a noise level.
_LONGEST = 10_000.0


class EnergyDenoiser(nnx.Module):
    """An energy of clean images, low where an image is likely.

    Unconditioned, it is one of the image alone and the noisy image is where descent starts, as in
    the reference code; conditioned, it is one of an image given the noisy one and descent starts
    anywhere, as in the paper's Algorithm 1.
    """

    def __init__(self, config, channels: int, *, conditioned: bool, step_size: float, ctx):
        """Builds the layers.

        Args:
          config: the section `model` of a config.
          channels: c.
          conditioned: whether the noisy image is an input.
          step_size: of a step of thinking at first, for each token.
          ctx: what all layers share, see `models.Context`.
        """
        self.patch, self.conditioned = config.patch, conditioned
        self.transformer = EnergyTransformer(
            config.patch**2 * channels,
            SIZES[config.size],
            segments=2 if conditioned else 1,
            of_second=conditioned,
            step_size=step_size,
            ctx=ctx,
        )

    def energy(
        self, candidate: Float[Array, 'b h w c'], noisy: Float[Array, 'b h w c']
    ) -> Float[Array, ' b']:
        """Energies of the candidates, each given the noisy image of the same place."""
        tokens = patches(candidate, self.patch)
        if not self.conditioned:
            return self.transformer(tokens)
        return self.transformer(patches(noisy, self.patch), tokens)

    def step_size(self, images: Float[Array, 'b h w c']) -> tuple[Array, Array]:
        """Size of a step on images of this shape, and whether it had to be clipped."""
        return self.transformer.step_size((images.shape[1] // self.patch) ** 2)

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Features of images in [0, 1]; conditioned, of each image given itself."""
        tokens = patches(2 * images - 1, self.patch)
        twice = jnp.concatenate([tokens, tokens], axis=1) if self.conditioned else tokens
        return self.transformer.trunk.features(twice)


class FeedForward(nnx.Module):
    """The same trunk in one pass: the noisy image plus what the network adds, nothing at first."""

    def __init__(self, config, channels: int, *, ctx):
        """Builds the layers; arguments as `EnergyDenoiser`."""
        self.patch, size = config.patch, SIZES[config.size]
        token_dim = config.patch**2 * channels
        self.trunk = Transformer(token_dim, size, ctx=ctx)
        self.head = _zero_linear(size.width, token_dim, ctx)

    def __call__(self, noisy: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
        """The images, as far as one pass can tell."""
        change = self.head(self.trunk(patches(noisy, self.patch)))
        return noisy + unpatch(change.astype(jnp.float32), self.patch)

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Features of images in [0, 1]."""
        return self.trunk.features(patches(2 * images - 1, self.patch))


class Diffusion(nnx.Module):
    """The same trunk, told the level of the noise, estimates the noise.

    Source: Peebles & Xie 2023.
    """

    def __init__(self, config, channels: int, *, ctx):
        """Builds the layers; arguments as `EnergyDenoiser`."""
        self.patch, size = config.patch, SIZES[config.size]
        token_dim = config.patch**2 * channels
        self.trunk = Transformer(token_dim, size, conditioned=True, ctx=ctx)
        self.level = nnx.Linear(size.width, size.width, dtype=ctx.dtype, rngs=ctx.rngs)
        self.head = _zero_linear(size.width, token_dim, ctx)

    def __call__(
        self, noisy: Float[Array, 'b h w c'], level: Int[Array, ' b']
    ) -> Float[Array, 'b h w c']:
        """The noise in each image, of standard deviation 1."""
        outputs = self.trunk(patches(noisy, self.patch), self._condition(level))
        return unpatch(self.head(outputs).astype(jnp.float32), self.patch)

    def encode(self, images: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b k']:
        """Features of images in [0, 1], taken for hardly noisy."""
        nothing = self._condition(jnp.zeros(len(images), jnp.int32))
        return self.trunk.features(patches(2 * images - 1, self.patch), nothing)

    def _condition(self, level):
        half = self.level.in_features // 2
        frequencies = _LONGEST ** -(jnp.arange(half) / half)
        angles = level[:, None].astype(jnp.float32) * frequencies[None]
        return self.level(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1))


def make_denoiser(
    config, moments: Moments, ctx: Context
) -> EnergyDenoiser | FeedForward | Diffusion:
    """The denoiser that `config.model.name` names.

    Args:
      config: the whole config.
      moments: of the training images; only tell the number of channels.
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


def _zero_linear(width: int, out: int, ctx) -> nnx.Linear:
    zeros = nnx.initializers.zeros
    return nnx.Linear(width, out, kernel_init=zeros, dtype=ctx.dtype, rngs=ctx.rngs)
