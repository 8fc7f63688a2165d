"""Losses of an energy of pairs. The energy of a compatible pair is low.

Axes: b anchors, m partners of each (its positive first, then negatives), t tokens of p numbers.
Source: own work; the noise-contrastive terms follow Jozefowicz et al. 2016, and thinking follows
`ebt.thinking`.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from contrastive_jax.numerics import Number, Scalar
from contrastive_jax.training.task import Metrics

__all__ = ['compatibility_loss', 'pair_nce', 'thinking_start', 'verification_loss']

# Weights of the terms of `verification_loss`.
_BCE, _MIX, _PENALTY = 0.5, 0.5, 1e-3


def pair_nce(energies: Float[Array, 'b m']) -> Float[Array, '']:
    """Noise-contrastive loss of the positive among the negatives of each anchor.

        loss = mean_i -log( e^{l_i0} / sum_j e^{l_ij} ),  l_ij = -F_ij

    Args:
      energies: energies F, `[b, m]`; column 0 is the positive.

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
      energies: energies F of any shape.
      targets: targets y in [0, 1]: 1 for a positive, 0 for a negative, and lambda for a mixture of
        lambda of a positive and 1 - lambda of a negative.
      offset: energy of a pair that is as likely compatible as not.
    """
    return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(offset - energies, targets))


def thinking_start(
    target: Float[Array, 'b t p'], other: Float[Array, 'b t p'], share: Float[Array, ' b']
) -> Float[Array, 'b t p']:
    """State that thinking starts from: the target, partly replaced by other tokens.

        y_0 = sqrt(r) y + sqrt(1 - r) u

    Args:
      target: tokens y that thinking has to restore; they pass no gradient.
      other: tokens u of a negative, or normal noise.
      share: share r of the target, in [0, 1].
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
    """The loss of a verifier.

        loss = L_nce + L_bce / 2 + L_opt + L_mix / 2 + 1e-3 mean E^2

    Args:
      energies: energies F, `[b, m]`; column 0 is the positive.
      residuals: outputs E of the network, `[b, m]`, the part of F that is not the cosine.
      mixed: energies F `[b]` of each anchor and a mixture of its positive and a negative.
      mixing: shares lambda `[b]` of the positives in the mixtures.
      offset: energy of a pair that is as likely compatible as not.
      thinking: term L_opt, which `thinking_loss` returns.

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
