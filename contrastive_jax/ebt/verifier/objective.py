"""Losses of an energy of pairs, low where two images are compatible.

Axes: b anchors, m partners of each (its positive first, then negatives), t tokens of p numbers.
Source: ours; noise-contrastive terms after Jozefowicz et al. 2016, thinking as in `think`.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from contrastive_jax.numerics import Number, Scalar
from contrastive_jax.objectives._compare import Metrics

__all__ = ['compatibility_loss', 'pair_nce', 'thinking_start', 'verification_loss']

# Of the terms of `verification_loss`.
_BCE, _MIX, _PENALTY = 0.5, 0.5, 1e-3


def pair_nce(energies: Float[Array, 'b m']) -> Float[Array, '']:
    """Noise-contrastive loss of the positive among the negatives of each anchor.

        loss = mean_i -log( e^{l_i0} / sum_j e^{l_ij} ),  l_ij = -F_ij

    Args:
      energies: `[b, m]`, F; column 0 is the positive.

    Returns:
      The mean over anchors.
    """
    logits = -energies
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 0])


def compatibility_loss(
    energies: Float[Array, '*shape'], targets: Float[Array, '*shape'], *, offset: Scalar
) -> Float[Array, '']:
    """Cross-entropy of the probability that a pair is compatible, `sigmoid(offset - F)`.

        loss = mean -(y log p + (1 - y) log(1 - p))

    Args:
      energies: F, of any shape.
      targets: y in [0, 1]: 1 for a positive, 0 for a negative, lambda for a partner that is mixed
        of lambda of one and 1 - lambda of the other.
      offset: c, the energy of a pair that may be either.
    """
    return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(offset - energies, targets))


def thinking_start(
    target: Float[Array, 'b t p'], other: Float[Array, 'b t p'], share: Float[Array, ' b']
) -> Float[Array, 'b t p']:
    """Where thinking starts: the target, partly replaced by something else.

        y_0 = sqrt(r) y + sqrt(1 - r) u

    Args:
      target: y, what thinking shall come back to; no gradient passes.
      other: u, tokens of a negative, or normal noise.
      share: r in [0, 1], of the target.
    """
    target, other = jax.lax.stop_gradient((target, other))
    share = share[:, None, None]
    return jnp.sqrt(share) * target + jnp.sqrt(1 - share) * other


def verification_loss(
    energies: Float[Array, 'b m'],
    residuals: Float[Array, 'b m'],
    mixed: Float[Array, ' b'],
    *,
    mixing: Float[Array, ' b'],
    offset: Scalar,
    thinking: Float[Array, ''] | Number = 0.0,
) -> tuple[Float[Array, ''], Metrics]:
    """All that trains a verifier.

        loss = L_nce + L_bce / 2 + L_opt + L_mix / 2 + 1e-3 mean E^2

    Args:
      energies: `[b, m]`, F; column 0 is the positive.
      residuals: `[b, m]`, E, what the network adds to the cosine in F.
      mixed: `[b]`, F of each anchor with its positive mixed with a negative.
      mixing: `[b]`, lambda, of the positive in that mixture.
      offset: as `compatibility_loss`.
      thinking: L_opt, of `thinking_loss`.

    Returns:
      The loss, and its terms by name.
    """
    b, m = energies.shape
    targets = jnp.broadcast_to((jnp.arange(m) == 0).astype(energies.dtype)[None], (b, m))
    terms = {
        'nce': pair_nce(energies),
        'bce': compatibility_loss(energies, targets, offset=offset),
        'mix': compatibility_loss(mixed, mixing, offset=offset),
        'thinking': jnp.asarray(thinking, energies.dtype),
        'penalty': jnp.mean(jnp.square(residuals)),
    }
    loss = terms['nce'] + _BCE * terms['bce'] + terms['thinking']
    return loss + _MIX * terms['mix'] + _PENALTY * terms['penalty'], terms
