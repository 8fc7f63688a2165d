"""The loss of a training step of a verifier, computed from encoded images.

Axes: b anchors, m partners of each (the positive first), t tokens of p numbers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from contrastive_jax.ebt.thinking import think, thinking_loss
from contrastive_jax.ebt.verifier.networks import Encoded, Verifier
from contrastive_jax.ebt.verifier.objective import thinking_start, verification_loss
from contrastive_jax.training.task import Metrics

__all__ = ['pair_loss']

# Smallest and largest number of steps of thinking, which each training step draws (S2 of the
# reference code).
_STEPS = (2, 3)
# Largest share of the target in the state that thinking starts from.
_MOST_KEPT = 0.9


def pair_loss(
    model: Verifier,
    encoded: Encoded,
    mixing: Float[Array, ' b'],
    key: Key[Array, ''],
    *,
    thinking: bool,
) -> tuple[Float[Array, ''], Metrics]:
    """Computes `verification_loss` for the pairs of a step.

    All negatives have the same weight (q = 1), because the energies are to rank the pairs of the
    band. With weights by inclusion probability, a negative from all images would count as much as
    ten negatives from the band.

    Args:
      model: verifier.
      encoded: encodings `[b, m + 2, ...]` that `encoding.encode_views` returns.
      mixing: shares `[b]` that `encoding.encode_views` returns.
      key: random key of thinking.
      thinking: whether the loss includes L_opt.

    Returns:
      The loss, and metrics: its terms, whether the step size of thinking was `clipped`, and
      `nonfinite_inner_step`, the first step of thinking that is not finite, or -1.
    """
    b, m = encoded.unit.shape[0], encoded.unit.shape[1] - 2
    first = jax.tree.map(lambda x: jnp.repeat(x[:, 0], m + 1, axis=0), encoded)
    second = jax.tree.map(lambda x: x[:, 1:].reshape(-1, *x.shape[2:]), encoded)
    residuals = model.residual(first, second).reshape(b, m + 1)
    energies = model.cosine_energy(first, second).reshape(b, m + 1) + residuals
    thinking_term = jnp.float32(0)
    metrics: Metrics = {'clipped': jnp.float32(0), 'nonfinite_inner_step': jnp.float32(-1)}
    if thinking:
        anchor, positive, negative = (
            jax.tree.map(lambda x, column=column: x[:, column], encoded) for column in range(3)
        )
        thinking_term, metrics = _think(model, anchor, positive, negative, key)
    loss, terms = verification_loss(
        energies[:, :m],
        residuals[:, :m],
        energies[:, m],
        mixing=mixing,
        offset=model.offset[...],
        thinking=thinking_term,
    )
    return loss, metrics | terms


def _think(
    model: Verifier, anchor: Encoded, positive: Encoded, negative: Encoded, key: Key[Array, '']
) -> tuple[Float[Array, ''], Metrics]:
    """Computes L_opt: thinking has to restore the tokens of the positive.

    It starts from tokens that are partly those of a negative, or noise.
    """
    b, t = positive.tokens.shape[:2]
    noise_key, kind_key, share_key, size_key, steps_key = jax.random.split(key, 5)
    noise = jax.random.normal(noise_key, positive.tokens.shape)
    is_noise = jax.random.bernoulli(kind_key, 0.5, (b, 1, 1))
    start = thinking_start(
        positive.tokens,
        jnp.where(is_noise, noise, negative.tokens),
        jax.random.uniform(share_key, (b,), maxval=_MOST_KEPT),
    )
    size, clipped = model.step_size(t)
    last = jax.random.randint(steps_key, (), min(_STEPS), max(_STEPS) + 1)
    thought = think(
        lambda tokens: model.residual(anchor, positive._replace(tokens=tokens)),
        start,
        steps=max(_STEPS),
        step_size=size * jax.random.uniform(size_key, (b,), minval=0.5, maxval=2.0),
        last=last,
    )
    target = jax.lax.stop_gradient(positive.tokens)
    loss, metrics = thinking_loss(thought.trajectory, target, last=last)
    return loss, metrics | {
        'step_size': size,
        'clipped': clipped,
        'nonfinite_inner_step': thought.nonfinite.astype(jnp.float32),
    }
