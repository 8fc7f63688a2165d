"""Transformers over the patches of an image, or of two: the trunk, and the energy it can end in.

Smooth throughout, since thinking differentiates an energy twice.

Axes: b samples, t tokens of a segment, p numbers of a token, d width, e heads.
Source: Energy-Based Transformers (arXiv 2507.02092); Peebles & Xie 2023 for the blocks.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from contrastive_jax.ebt.section import Size

__all__ = ['EnergyTransformer', 'Transformer', 'patches', 'unpatch']


# Numbers that modulate a block: scale, shift and gate of both its halves.
_PER_BLOCK = 6
_RATIO = 4
_EPSILON = 1e-6
_MOST_LOG_STEP = math.log(16.0)


class _Block(nnx.Module):
    """Attention, then a perceptron, each `h + g f((1 + c) norm(h) + s)`.

    `c`, `s` and `g` come from outside; at zero the block is the identity.
    """

    def __init__(self, size: Size, *, segments: int, ctx):
        width, linear = size.width, _linear(ctx)
        self.heads = size.heads
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)
        self.up = linear(width, _RATIO * width)
        self.down = linear(_RATIO * width, width)
        # Attention within and across segments, alike for both of them.
        self.across = nnx.Param(jnp.zeros(size.heads)) if segments == 2 else None

    def __call__(self, h, modulation):
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation
        h = h + gate1 * self._attend((1 + scale1) * _norm(h) + shift1)
        y = self.up((1 + scale2) * _norm(h) + shift2)
        return h + gate2 * self.down(nnx.gelu(y))

    def _attend(self, x):
        b, t, width = x.shape
        q, k, v = jnp.split(self.qkv(x).reshape(b, t, 3 * self.heads, -1), 3, axis=2)
        bias = None
        if self.across is not None:
            segment = jnp.arange(t) // (t // 2)
            other = segment[:, None] != segment[None, :]
            bias = (self.across[...][:, None, None] * other[None].astype(jnp.float32))[None]
            bias = bias.astype(x.dtype)
        # The plain formula: fused kernels have no second derivative.
        mixed = jax.nn.dot_product_attention(q, k, v, bias=bias, implementation='xla')
        return self.out(mixed.reshape(b, t, width))


class Transformer(nnx.Module):
    """Tokens of one segment or of two to as many outputs of width d."""

    def __init__(
        self,
        token_dim: int,
        size: Size,
        *,
        segments: int = 1,
        ordered: bool = False,
        conditioned: bool = False,
        ctx,
    ):
        """Builds the layers.

        Args:
          token_dim: p.
          size: depth, heads and width.
          segments: 1 or 2.
          ordered: whether the two can be told apart; otherwise swapping them swaps the outputs.
          conditioned: whether a vector `[b, d]` modulates every block, as in a diffusion
            transformer; otherwise the modulation is learned once for all inputs.
          ctx: what all layers share, see `models.Context`.
        """
        self.segments, self.dtype = segments, ctx.dtype
        self.embed = _linear(ctx)(token_dim, size.width)
        shape, normal = (segments, 1, size.width), nnx.initializers.normal(0.02)
        self.segment = nnx.Param(normal(ctx.rngs.params(), shape)) if ordered else None
        self.blocks = nnx.List(_Block(size, segments=segments, ctx=ctx) for _ in range(size.depth))
        count = (_PER_BLOCK * size.depth + 2) * size.width
        zeros = nnx.initializers.zeros
        self.modulation = (
            nnx.Linear(size.width, count, kernel_init=zeros, dtype=ctx.dtype, rngs=ctx.rngs)
            if conditioned
            else nnx.Param(jnp.zeros(count))
        )

    def __call__(
        self, tokens: Float[Array, 'b t p'], condition: Float[Array, 'b d'] | None = None
    ) -> Float[Array, 'b t d']:
        """Outputs after the last normalisation; `t` counts both segments."""
        h, modulations = self._hidden(tokens, condition)
        scale, shift = modulations[-2:]
        return (1 + scale) * _norm(h) + shift

    def features(
        self, tokens: Float[Array, 'b t p'], condition: Float[Array, 'b d'] | None = None
    ) -> Float[Array, 'b d']:
        """Mean over the tokens of the last block's output, in float32."""
        return jnp.mean(self._hidden(tokens, condition)[0].astype(jnp.float32), axis=1)

    def _hidden(self, tokens, condition):
        h = self.embed(tokens.astype(self.dtype))
        width = h.shape[-1]
        places = jnp.asarray(_positions(tokens.shape[1] // self.segments, width))[None]
        if self.segment is not None:
            places = places + self.segment[...]
        places = jnp.broadcast_to(places, (self.segments, *places.shape[1:]))
        h = h + places.reshape(1, -1, width).astype(self.dtype)
        if isinstance(self.modulation, nnx.Linear):
            flat = self.modulation(nnx.silu(condition.astype(self.dtype)))
        else:
            flat = self.modulation[...].astype(self.dtype)[None]
        modulations = jnp.split(flat[:, None, :], flat.shape[-1] // width, axis=-1)
        for place, block in enumerate(self.blocks):
            h = block(h, modulations[_PER_BLOCK * place :][:_PER_BLOCK])
        return h, modulations


class EnergyTransformer(nnx.Module):
    """One energy a sample, of the tokens of one segment or of two.

        E = mean over tokens of <w, h_j>,  w = 0 at first

    There is no bias, which no gradient would see. The energy of two segments does not depend on
    their order, unless `of_second` is set: then the first one is given, and only the tokens of the
    second count. The size of a step of thinking is learned along with it.
    """

    def __init__(
        self,
        token_dim: int,
        size: Size,
        *,
        segments: int = 1,
        of_second: bool = False,
        step_size: float = 47.0,
        ctx,
    ):
        """Builds the layers.

        Args:
          token_dim: p.
          size: depth, heads and width, such as `SIZES['small']`.
          segments: 1 or 2.
          of_second: tell the segments apart, and take the energy of the second.
          step_size: of a step of thinking at first, for each token that the energy is the mean of.
          ctx: what all layers share, see `models.Context`.
        """
        self.of_second, self.first_step = of_second, step_size
        self.trunk = Transformer(token_dim, size, segments=segments, ordered=of_second, ctx=ctx)
        self.head = nnx.Param(jnp.zeros(size.width))
        self.log_step = nnx.Param(jnp.zeros(()))

    def __call__(
        self, first: Float[Array, 'b t p'], second: Float[Array, 'b t p'] | None = None
    ) -> Float[Array, ' b']:
        """Energies, `[b]` float32."""
        tokens = first if second is None else jnp.concatenate([first, second], axis=1)
        outputs = self.trunk(tokens)
        if self.of_second:
            outputs = outputs[:, first.shape[1] :]
        return jnp.mean(outputs.astype(jnp.float32) @ self.head[...], axis=1)

    def step_size(self, tokens: int) -> tuple[Float[Array, ''], Float[Array, '']]:
        """Size of a step of thinking, and 1 where it had to be clipped, else 0.

            a = step_size tokens exp(3 l),  clipped to a factor of 16 either way

        A step of Adam changes l by its learning rate whatever the gradient; so it changes the size
        by three times that, relatively, as the reference code has it.

        Args:
          tokens: how many the energy is the mean of.
        """
        log = 3 * self.log_step[...]
        clipped = jnp.clip(log, -_MOST_LOG_STEP, _MOST_LOG_STEP)
        return self.first_step * tokens * jnp.exp(clipped), (log != clipped).astype(jnp.float32)


def patches(images: Float[Array, 'b h w c'], side: int) -> Float[Array, 'b t p']:
    """Cuts images into squares of `side` pixels, row by row; `p = side * side * c`.

    Raises:
      ValueError: a height or width that the side does not divide, or that differ.
    """
    b, h, w, c = images.shape
    if h != w or h % side:
        raise ValueError(f'images of {h} x {w} pixels: must be squares of a multiple of {side}')
    grid = images.reshape(b, h // side, side, w // side, side, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, (h // side) ** 2, side * side * c)


def unpatch(tokens: Float[Array, 'b t p'], side: int) -> Float[Array, 'b h w c']:
    """The images that `patches` cut."""
    b, t, p = tokens.shape
    count, c = math.isqrt(t), p // side**2
    grid = tokens.reshape(b, count, count, side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(b, count * side, count * side, c)


def _norm(h):
    """Layer norm without parameters, in float32."""
    x = h.astype(jnp.float32)
    # `jax.nn.standardize` computes mean(x^2) - mean(x)^2 in JAX 0.10.0, which loses digits.
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + _EPSILON)
    return (x * scale).astype(h.dtype)


def _linear(ctx):
    return partial(
        nnx.Linear,
        kernel_init=nnx.initializers.xavier_uniform(),
        dtype=ctx.dtype,
        rngs=ctx.rngs,
    )


def _positions(count: int, width: int) -> np.ndarray:
    """Sines and cosines of row and column of each token of a square grid, `[count, width]`."""
    side = math.isqrt(count)
    if side**2 != count:
        raise ValueError(f'{count} tokens: must be a square number, from square images')
    frequencies = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows, columns = np.divmod(np.arange(count), side)
    return np.concatenate([waves[rows], waves[columns]], axis=1).astype(np.float32)
