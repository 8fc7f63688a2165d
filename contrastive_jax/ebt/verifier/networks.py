"""Networks that correct the cosine of a pair: a transformer, and the controls it has to beat.

Axes: b pairs, t tokens of p numbers, k features, d width.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from contrastive_jax.ebt.section import Size
from contrastive_jax.ebt.transformer import EnergyTransformer, Transformer
from contrastive_jax.models import Context
from contrastive_jax.numerics import unit_rows

__all__ = ['NETWORKS', 'Encoded', 'Verifier', 'make_verifier']

# This is smaller than a denoiser, because every anchor is compared with many partners.
_SIZE = Size(2, 2, 32)
# Width of the hidden layers of the perceptron.
_HIDDEN = 64
# Initial step size of thinking for each token. With the 47 of a denoiser, energies of hundredths
# move tokens by their own length, but the contrastive terms need energies of the size of cos / tau.
_STEP_SIZE = 3.0
# Before training, a pair with this cosine has probability 1/2.
_UNDECIDED = 0.5


class Encoded(NamedTuple):
    """Encodings of images by a frozen encoder.

    Attributes:
      unit: `[b, k]` unit rows, the directions of the features less their mean over the data set.
      tokens: `[b, t, p]` tokens, each with mean 0 and variance 1.
    """

    unit: Float[Array, 'b k']
    tokens: Float[Array, 'b t p']


class _PairTransformer(nnx.Module):
    """Energy of the tokens of both images together. It is symmetric in the images."""

    def __init__(self, token_dim: int, features: int, ctx: Context):
        self.transformer = EnergyTransformer(
            token_dim, _SIZE, segments=2, step_size=_STEP_SIZE, ctx=ctx
        )

    def __call__(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        return self.transformer(first.tokens, second.tokens)

    def step_size(self, tokens: int) -> tuple[Float[Array, ''], Float[Array, '']]:
        return self.transformer.step_size(2 * tokens)


class _BiEncoder(nnx.Module):
    """Encodes each image by itself: E = -<w, u(a) u(b)>, initially w = 0."""

    def __init__(self, token_dim: int, features: int, ctx: Context):
        self.trunk = Transformer(token_dim, _SIZE, ctx=ctx)
        self.head = nnx.Param(jnp.zeros(_SIZE.width))

    def __call__(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        u, v = (unit_rows(jnp.mean(self.trunk(x.tokens), axis=1)) for x in (first, second))
        return -(u * v) @ self.head[...]


class _Perceptron(nnx.Module):
    """Perceptron of [u, v, |u - v|, u v], averaged over both orders of the images."""

    def __init__(self, token_dim: int, features: int, ctx: Context):
        self.up = nnx.Linear(4 * features, _HIDDEN, rngs=ctx.rngs)
        self.middle = nnx.Linear(_HIDDEN, _HIDDEN, rngs=ctx.rngs)
        self.head = nnx.Param(jnp.zeros(_HIDDEN))

    def __call__(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        u, v = first.unit, second.unit
        return (self._ordered(u, v) + self._ordered(v, u)) / 2

    def _ordered(self, u, v):
        # Entries of a unit row are small, so they are scaled to the order of 1.
        scale = jnp.sqrt(jnp.float32(u.shape[-1]))
        x = jnp.concatenate([u, v, jnp.abs(u - v), scale * u * v], axis=-1) * scale
        return nnx.gelu(self.middle(nnx.gelu(self.up(x)))) @ self.head[...]


PairNetwork = _PairTransformer | _BiEncoder | _Perceptron

NETWORKS: dict[str, Callable[[int, int, Context], PairNetwork]] = {
    'transformer': _PairTransformer,
    'bi-encoder': _BiEncoder,
    'perceptron': _Perceptron,
}


class Verifier(nnx.Module):
    """A corrected cosine: `F(a, b) = -cos(a, b) / tau + E(a, b)`, and `P = sigmoid(c - F)`.

    Initially E is 0, so F ranks pairs as the cosine does.
    """

    def __init__(self, network: PairNetwork, temperature: float):
        """Stores the network.

        Args:
          network: network that computes E.
          temperature: temperature tau.
        """
        self.network, self.temperature = network, temperature
        self.offset = nnx.Param(jnp.float32(-_UNDECIDED / temperature))

    def residual(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        """Returns E."""
        return self.network(first, second)

    def cosine_energy(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        """Returns F - E."""
        return -jnp.sum(first.unit * second.unit, axis=-1) / self.temperature

    def step_size(self, tokens: int) -> tuple[Float[Array, ''], Float[Array, '']]:
        """Returns the step size of thinking, and 1 if it was clipped, else 0.

        Args:
          tokens: number of tokens of an image.

        Raises:
          ValueError: the network is not a transformer, the only one that thinks.
        """
        if not isinstance(self.network, _PairTransformer):
            raise ValueError(f'{type(self.network).__name__} does not think')
        return self.network.step_size(tokens)


def make_verifier(name: str, encoded: Encoded, temperature: float, ctx: Context) -> Verifier:
    """Builds an untrained verifier.

    Args:
      name: name of the network, a key of `NETWORKS`.
      encoded: encodings of any images, of which only the shapes are used.
      temperature: temperature tau.
      ctx: what all layers share.
    """
    token_dim, features = encoded.tokens.shape[-1], encoded.unit.shape[-1]
    return Verifier(NETWORKS[name](token_dim, features, ctx), temperature)
