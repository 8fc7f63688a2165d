"""The encoders, which map images to features.

Axes: b images, h w pixels, c channels, gh gw entries of the last feature maps, k features, t tokens
of p numbers.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from contrastive_jax.models.context import Context

__all__ = ['DEPTHS', 'ConvNet', 'ResNet']

Initializer = jax.nn.initializers.Initializer

# Number of blocks in each stage, and whether they are bottlenecks, by depth (He et al. 2016).
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}
# Largest side of a grid of tokens.
_TOKEN_SIDE = 4


def _he_normal(key, shape, dtype=jnp.float32):
    """Normal weights `[h, w, in, out]` of variance `2 / fan_out`, as in He et al. 2015.

    They are drawn as a vector, because XLA's CPU compiler takes seconds for random numbers with
    four axes (JAX 0.10).
    """
    fan_out = shape[0] * shape[1] * shape[3]
    weights = jax.random.normal(key, (math.prod(shape),), dtype)
    return weights.reshape(shape) * math.sqrt(2 / fan_out)


class _ConvNorm(nnx.Module):
    """A convolution without bias, followed by batch norm."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,
        *,
        stride: int = 1,
        scale: Initializer = nnx.initializers.ones,
        ctx: Context,
    ):
        self.conv = nnx.Conv(
            channels_in,
            channels_out,
            (size, size),
            strides=stride,
            padding=((size // 2, size // 2),) * 2,
            use_bias=False,
            kernel_init=_he_normal,
            dtype=ctx.dtype,
            rngs=ctx.rngs,
        )
        self.norm = batch_norm(channels_out, ctx=ctx, scale_init=scale)

    def __call__(self, x: Array, train: bool) -> Array:
        return self.norm(self.conv(x), use_running_average=not train)


class _Block(nnx.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1 convolutions.

    A bottleneck has four times as many output channels. The scale of the last batch norm starts at
    zero, so the block starts as the identity.
    """

    def __init__(
        self, channels_in: int, width: int, stride: int, *, bottleneck: bool, ctx: Context
    ):
        zeros = nnx.initializers.zeros
        channels_out = 4 * width if bottleneck else width
        if bottleneck:
            layers = [
                _ConvNorm(channels_in, width, 1, ctx=ctx),
                _ConvNorm(width, width, 3, stride=stride, ctx=ctx),
                _ConvNorm(width, channels_out, 1, scale=zeros, ctx=ctx),
            ]
        else:
            layers = [
                _ConvNorm(channels_in, width, 3, stride=stride, ctx=ctx),
                _ConvNorm(width, width, 3, scale=zeros, ctx=ctx),
            ]
        self.layers = nnx.List(layers)
        changes_shape = stride != 1 or channels_in != channels_out
        self.shortcut = (
            _ConvNorm(channels_in, channels_out, 1, stride=stride, ctx=ctx)
            if changes_shape
            else None
        )

    def __call__(self, x: Array, train: bool) -> Array:
        y = x
        for layer in self.layers[:-1]:
            y = nnx.relu(layer(y, train))
        y = self.layers[-1](y, train)
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x, train)))


class _Encoder(nnx.Module):
    """An encoder of three parts: all stages but the last, the last stage, and pooling."""

    _penultimate: Callable[[Array, bool], Array]
    _last: Callable[[Array, bool], Array]
    _pooled: Callable[[Array], Array]

    def __call__(self, images: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b k']:
        """Returns the features, `[b, k]` float32."""
        return self._pooled(self.grid(images, train))

    def grid(self, images: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b gh gw p']:
        """Returns the last feature maps, before pooling."""
        return self._last(self._penultimate(images, train), train)

    def features_and_tokens(
        self, images: Float[Array, 'b h w c']
    ) -> tuple[Float[Array, 'b k'], Float[Array, 'b t p']]:
        """Returns features in evaluation, and the grid before the last stage as tokens."""
        grid = self._penultimate(images, False)
        return self._pooled(self._last(grid, False)), _tokens(grid)


class ResNet(_Encoder):
    """A ResNet-18, -34 or -50 without its classifier.

    Source: He et al. 2016; Chen et al. 2020, B.9, for the `cifar` stem (3x3, stride 1, no pooling).
    """

    def __init__(self, channels: int, *, depth: int, width: int, stem: str, ctx: Context):
        """Builds the layers.

        Args:
          channels: number c of image channels.
          depth: number of layers: 18, 34 or 50.
          width: number of channels in the first stage.
          stem: form of the first layer, 'cifar' or 'imagenet'.
          ctx: what all layers share.
        """
        blocks, bottleneck = DEPTHS[depth]
        self.pool = stem == 'imagenet'
        size, stride = (7, 2) if self.pool else (3, 1)
        self.stem = _ConvNorm(channels, width, size, stride=stride, ctx=ctx)
        layers, channels_in = [], width
        for stage, count in enumerate(blocks):
            stage_width = width * 2**stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(
                    _Block(channels_in, stage_width, stride, bottleneck=bottleneck, ctx=ctx)
                )
                channels_in = stage_width * (4 if bottleneck else 1)
        self.blocks = nnx.List(layers)
        self.last_stage = blocks[-1]
        self.num_features = channels_in

    def _penultimate(self, images: Float[Array, 'b h w c'], train: bool) -> Array:
        x = nnx.relu(self.stem(images, train))
        if self.pool:
            x = nnx.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
        for block in self.blocks[: -self.last_stage]:
            x = block(x, train)
        return x

    def _last(self, grid: Array, train: bool) -> Array:
        for block in self.blocks[-self.last_stage :]:
            grid = block(grid, train)
        return grid

    def _pooled(self, grid: Array) -> Float[Array, 'b k']:
        return jnp.mean(grid.astype(jnp.float32), axis=(1, 2))


class ConvNet(_Encoder):
    """Three 3x3 convolutions, for images with a side of 8 to 32 pixels.

    `average_pool` averages the last feature maps over a 2 x 2 grid, which gives the features.
    """

    def __init__(self, channels: int, *, width: int, ctx: Context):
        """Builds the layers.

        Args:
          channels: number c of image channels.
          width: number of channels of the first convolution; the next ones have two and four times
            as many.
          ctx: what all layers share.
        """
        widths = [channels, width, 2 * width, 4 * width]
        self.layers = nnx.List(
            _ConvNorm(widths[i], widths[i + 1], 3, stride=1 if i == 0 else 2, ctx=ctx)
            for i in range(3)
        )
        self.num_features = 4 * widths[-1]

    def _penultimate(self, images: Float[Array, 'b h w c'], train: bool) -> Array:
        x = images
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x, train))
        return x

    def _last(self, grid: Array, train: bool) -> Array:
        return nnx.relu(self.layers[-1](grid, train))

    def _pooled(self, x: Array) -> Float[Array, 'b k']:
        grid = average_pool(x, 2)
        return grid.reshape(len(grid), -1)


def average_pool(grid: Float[Array, 'b h w p'], side: int) -> Float[Array, 'b side side p']:
    """Averages feature maps over `side x side` windows, in float32.

    On a side of length n, window i begins at entry `floor(i n / side)` and ends before entry
    `ceil((i + 1) n / side)`. So the windows are equal blocks if `side` divides n. Otherwise
    some neighbouring windows share an entry, as in PyTorch's `AdaptiveAvgPool2d`.
    """
    rows, columns = (_window_weights(length, side) for length in grid.shape[1:3])
    means = jnp.einsum('ih,bhwp->biwp', rows, grid.astype(jnp.float32), precision='highest')
    return jnp.einsum('jw,biwp->bijp', columns, means, precision='highest')


def _window_weights(length: int, side: int) -> np.ndarray:
    """Weight of each entry in the mean of each window, `[side, length]`."""
    window, entry = np.arange(side)[:, None], np.arange(length)[None]
    first, end = window * length // side, -(-(window + 1) * length // side)
    inside = (first <= entry) & (entry < end)
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def _tokens(grid: Float[Array, 'b h w p']) -> Float[Array, 'b t p']:
    """Returns feature maps `[b, h, w, p]` as tokens `[b, t, p]` of a square grid, at most 4 x 4.

    `average_pool` reduces larger grids.
    """
    tokens = average_pool(grid, min(*grid.shape[1:3], _TOKEN_SIDE))
    return tokens.reshape(len(tokens), -1, tokens.shape[-1])


def batch_norm(
    features: int, *, ctx: Context, scale_init: Initializer = nnx.initializers.ones
) -> nnx.BatchNorm:
    """Batch norm over one device, or over the mapped axis of `ctx`; statistics in float32."""
    return nnx.BatchNorm(
        features,
        momentum=0.9,
        epsilon=1e-5,
        scale_init=scale_init,
        axis_name=ctx.axis_name,
        dtype=ctx.dtype,
        rngs=ctx.rngs,
    )
