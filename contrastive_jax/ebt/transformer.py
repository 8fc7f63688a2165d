"""Transformers over the patches of one image or two, with or without an energy as output.

All operations are smooth, because the training of thinking differentiates an energy twice.

Axes: b samples, t tokens of a segment, p numbers of a token, d width, e heads, h w pixels,
c channels.
Source: Energy-Based Transformers (arXiv 2507.02092); Peebles & Xie 2023 for the blocks.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from contrastive_jax.ebt.section import Size
from contrastive_jax.models import Context

__all__ = ['EnergyTransformer', 'Transformer', 'layer_norm', 'patches', 'unpatch']

# Modulations of a block: scale, shift and gate of each of its two halves.
_PER_BLOCK = 6
# Hidden width of a perceptron over the width of its input.
_RATIO = 4
_EPSILON = 1e-6
# Logarithm of the largest factor between a step size and its initial value.
_MOST_LOG_STEP = math.log(16.0)


class _Block(nnx.Module):
    """Attention and then a perceptron, each as `h + g f((1 + c) norm(h) + s)`.

    The caller passes scale `c`, shift `s` and gate `g`. With zeros, the block is the identity.
    """

    def __init__(self, size: Size, *, segments: int, ctx: Context):
        width, linear = size.width, _linear(ctx)
        self.heads = size.heads
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)
        self.up = linear(width, _RATIO * width)
        self.down = linear(_RATIO * width, width)
        # Bias of the attention between segments. It is the same in both directions.
        self.across = nnx.Param(jnp.zeros(size.heads)) if segments == 2 else None

    def __call__(self, h, modulation):
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation
        h = h + gate1 * self._attend((1 + scale1) * layer_norm(h) + shift1)
        y = self.up((1 + scale2) * layer_norm(h) + shift2)
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
        # Fused kernels have no second derivative.
        attended = jax.nn.dot_product_attention(q, k, v, bias=bias, implementation='xla')
        return self.out(attended.reshape(b, t, width))


class Transformer(nnx.Module):
    """Maps the tokens of one or two segments to as many outputs of width d."""

    def __init__(
        self,
        token_dim: int,
        size: Size,
        *,
        segments: int = 1,
        ordered: bool = False,
        conditioned: bool = False,
        ctx: Context,
    ):
        """Builds the layers.

        Args:
          token_dim: number p of values in a token.
          size: depth, heads and width.
          segments: number of segments, 1 or 2.
          ordered: whether the model can tell the two segments apart. Otherwise swapping them swaps
            the outputs.
          conditioned: whether a vector `[b, d]` modulates every block, as in a diffusion
            transformer. Otherwise the modulation is learned and the same for all inputs.
          ctx: what all layers share.
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
        """Returns the normalised outputs; `t` counts the tokens of both segments."""
        h, modulations = self._hidden(tokens, condition)
        scale, shift = modulations[-2:]
        return (1 + scale) * layer_norm(h) + shift

    def features(
        self, tokens: Float[Array, 'b t p'], condition: Float[Array, 'b d'] | None = None
    ) -> Float[Array, 'b d']:
        """Returns the mean of the last block's outputs over all tokens, in float32."""
        return jnp.mean(self._hidden(tokens, condition)[0].astype(jnp.float32), axis=1)

    def _hidden(self, tokens, condition):
        h = self.embed(tokens.astype(self.dtype))
        width = h.shape[-1]
        positions = jnp.asarray(_positions(tokens.shape[1] // self.segments, width))[None]
        if self.segment is not None:
            positions = positions + self.segment[...]
        positions = jnp.broadcast_to(positions, (self.segments, *positions.shape[1:]))
        h = h + positions.reshape(1, -1, width).astype(self.dtype)
        if isinstance(self.modulation, nnx.Linear):
            flat = self.modulation(nnx.silu(condition.astype(self.dtype)))
        else:
            flat = self.modulation[...].astype(self.dtype)[None]
        modulations = jnp.split(flat[:, None, :], flat.shape[-1] // width, axis=-1)
        for index, block in enumerate(self.blocks):
            h = block(h, modulations[_PER_BLOCK * index :][:_PER_BLOCK])
        return h, modulations


class EnergyTransformer(nnx.Module):
    """An energy for each sample, computed from the tokens of one or two segments.

        E = mean over tokens of <w, h_j>,  initially w = 0

    There is no bias, because thinking would not depend on it. The energy of two segments does not
    depend on their order. With `of_second`, it is the energy of the second segment given the first,
    and the mean is over the tokens of the second. The step size of thinking is a parameter too.
    """

    def __init__(
        self,
        token_dim: int,
        size: Size,
        *,
        segments: int = 1,
        of_second: bool = False,
        step_size: float = 47.0,
        ctx: Context,
    ):
        """Builds the layers.

        Args:
          token_dim: number p of values in a token.
          size: depth, heads and width, such as `SIZES['small']`.
          segments: number of segments, 1 or 2.
          of_second: whether the energy is that of the second segment given the first.
          step_size: initial step size of thinking for each token in the mean.
          ctx: what all layers share.
        """
        self.of_second, self.first_step = of_second, step_size
        self.trunk = Transformer(token_dim, size, segments=segments, ordered=of_second, ctx=ctx)
        self.head = nnx.Param(jnp.zeros(size.width))
        self.log_step = nnx.Param(jnp.zeros(()))

    def __call__(
        self, first: Float[Array, 'b t p'], second: Float[Array, 'b t p'] | None = None
    ) -> Float[Array, ' b']:
        """Returns the energies `[b]` in float32."""
        tokens = first if second is None else jnp.concatenate([first, second], axis=1)
        outputs = self.trunk(tokens)
        if self.of_second:
            outputs = outputs[:, first.shape[1] :]
        return jnp.mean(outputs.astype(jnp.float32) @ self.head[...], axis=1)

    def step_size(self, tokens: int) -> tuple[Float[Array, ''], Float[Array, '']]:
        """Returns the step size of thinking, and 1 if it was clipped, else 0.

            a = step_size tokens exp(3 l),  clipped to a factor from 1/16 to 16

        A step of Adam changes the parameter l by about its learning rate, whatever the gradient. So
        the step size changes relatively by three times the learning rate, as in the reference code.

        Args:
          tokens: number of tokens in the mean.
        """
        log = 3 * self.log_step[...]
        clipped = jnp.clip(log, -_MOST_LOG_STEP, _MOST_LOG_STEP)
        return self.first_step * tokens * jnp.exp(clipped), (log != clipped).astype(jnp.float32)


def patches(images: Float[Array, 'b h w c'], side: int) -> Float[Array, 'b t p']:
    """Cuts images into squares of `side` pixels, row by row; `p = side * side * c`.

    Raises:
      ValueError: images that are not square, or whose height `side` does not divide.
    """
    b, h, w, c = images.shape
    if h != w or h % side:
        raise ValueError(f'images of {h} x {w} pixels: must be squares of a multiple of {side}')
    grid = images.reshape(b, h // side, side, w // side, side, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, (h // side) ** 2, side * side * c)


def unpatch(tokens: Float[Array, 'b t p'], side: int) -> Float[Array, 'b h w c']:
    """Puts the patches of `patches` together to images."""
    b, t, p = tokens.shape
    count, c = math.isqrt(t), p // side**2
    grid = tokens.reshape(b, count, count, side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(b, count * side, count * side, c)


def layer_norm(h: Array) -> Array:
    """A layer norm over the last axis without parameters, computed in float32; the type stays."""
    x = h.astype(jnp.float32)
    # `jax.nn.standardize` computes mean(x^2) - mean(x)^2 in JAX 0.10.0, which loses digits.
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + _EPSILON)
    return (x * scale).astype(h.dtype)


def _linear(ctx: Context) -> Callable[[int, int], nnx.Linear]:
    return partial(
        nnx.Linear,
        kernel_init=nnx.initializers.xavier_uniform(),
        dtype=ctx.dtype,
        rngs=ctx.rngs,
    )


def _positions(count: int, width: int) -> np.ndarray:
    """Sines and cosines of the row and column of each token in a square grid, `[count, width]`."""
    side = math.isqrt(count)
    if side**2 != count:
        raise ValueError(f'{count} tokens: must be a square number, from square images')
    frequencies = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows, columns = np.divmod(np.arange(count), side)
    return np.concatenate([waves[rows], waves[columns]], axis=1).astype(np.float32)
