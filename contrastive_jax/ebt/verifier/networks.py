"""Energies of pairs: what a cosine is corrected by, by a transformer and by what it has to beat.

Axes: b pairs, t tokens of p numbers, k features, d width.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from contrastive_jax.ebt.section import Size
from contrastive_jax.ebt.transformer import EnergyTransformer, Transformer
from contrastive_jax.models import Context
from contrastive_jax.numerics import unit_rows

__all__ = ['NETWORKS', 'Encoded', 'Verifier', 'make_verifier']

# Smaller than the sizes of a denoiser: every anchor is seen with many partners.
_SIZE = Size(2, 2, 32)
_HIDDEN = 64
# Of thinking at first, for each token. With the 47 of a denoiser, steps that move tokens by their
# own size take energies of hundredths; the contrastive terms want them of the size of cos / tau.
_STEP_SIZE = 3.0
# The cosine of a pair that may be either, before anything is learned.
_UNDECIDED = 0.5


class Encoded(NamedTuple):
    """Images as a frozen encoder sees them.

    Attributes:
      unit: `[b, k]` directions of the features, the mean of the data set subtracted.
      tokens: `[b, t, p]` each of mean 0 and variance 1.
    """

    unit: Float[Array, 'b k']
    tokens: Float[Array, 'b t p']


class _PairTransformer(nnx.Module):
    """Energy of the tokens of both images together; symmetric in them."""

    def __init__(self, token_dim: int, features: int, ctx: Context):
        self.transformer = EnergyTransformer(
            token_dim, _SIZE, segments=2, step_size=_STEP_SIZE, ctx=ctx
        )

    def __call__(self, first: Encoded, second: Encoded):
        return self.transformer(first.tokens, second.tokens)

    def step_size(self, tokens: int):
        return self.transformer.step_size(2 * tokens)


class _BiEncoder(nnx.Module):
    """The same trunk over each image by itself: E = -<w, u(a) u(b)>, w = 0 at first."""

    def __init__(self, token_dim: int, features: int, ctx: Context):
        self.trunk = Transformer(token_dim, _SIZE, ctx=ctx)
        self.head = nnx.Param(jnp.zeros(_SIZE.width))

    def __call__(self, first: Encoded, second: Encoded):
        u, v = (unit_rows(jnp.mean(self.trunk(x.tokens), axis=1)) for x in (first, second))
        return -(u * v) @ self.head[...]


class _Perceptron(nnx.Module):
    """Two layers over [u, v, |u - v|, u v] of the features, the mean over both orders."""

    def __init__(self, token_dim: int, features: int, ctx: Context):
        self.up = nnx.Linear(4 * features, _HIDDEN, rngs=ctx.rngs)
        self.middle = nnx.Linear(_HIDDEN, _HIDDEN, rngs=ctx.rngs)
        self.head = nnx.Param(jnp.zeros(_HIDDEN))

    def __call__(self, first: Encoded, second: Encoded):
        u, v = first.unit, second.unit
        return (self._ordered(u, v) + self._ordered(v, u)) / 2

    def _ordered(self, u, v):
        # Entries of a direction are small: brought to the order of 1.
        scale = jnp.sqrt(jnp.float32(u.shape[-1]))
        x = jnp.concatenate([u, v, jnp.abs(u - v), scale * u * v], axis=-1) * scale
        return nnx.gelu(self.middle(nnx.gelu(self.up(x)))) @ self.head[...]


NETWORKS = {
    'transformer': _PairTransformer,
    'bi-encoder': _BiEncoder,
    'perceptron': _Perceptron,
}


class Verifier(nnx.Module):
    """Cosine, corrected: `F(a, b) = -cos(a, b) / tau + E(a, b)`, and `P = sigmoid(c - F)`.

    E is 0 at first, so that F ranks as the cosine does.
    """

    def __init__(self, network: nnx.Module, temperature: float):
        """Takes the network of E, and tau."""
        self.network, self.temperature = network, temperature
        self.offset = nnx.Param(jnp.float32(-_UNDECIDED / temperature))

    def residual(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        """E alone."""
        return self.network(first, second)

    def cosine_energy(self, first: Encoded, second: Encoded) -> Float[Array, ' b']:
        """F - E."""
        return -jnp.sum(first.unit * second.unit, axis=-1) / self.temperature


def make_verifier(name: str, encoded: Encoded, temperature: float, ctx: Context) -> Verifier:
    """A verifier before training.

    Args:
      name: of `NETWORKS`.
      encoded: any images, for their shapes.
      temperature: tau.
      ctx: what all layers share.
    """
    shapes = encoded.tokens.shape[-1], encoded.unit.shape[-1]
    return Verifier(NETWORKS[name](*shapes, ctx), temperature)
