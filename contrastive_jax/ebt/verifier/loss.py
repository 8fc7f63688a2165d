"""The loss of a step of training a verifier, out of what the frozen encoder sees.

Axes: b anchors, m partners of each (the positive first), t tokens of p numbers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from contrastive_jax.ebt.thinking import think, thinking_loss
from contrastive_jax.ebt.verifier.networks import Encoded, Verifier
from contrastive_jax.ebt.verifier.objective import thinking_start, verification_loss

__all__ = ['pair_loss']

# Of thinking in training, drawn for each step; S2 of the reference code.
_STEPS = (2, 3)
_MOST_KEPT = 0.9

Metrics = dict[str, Float[Array, '']]


def pair_loss(
    model: Verifier,
    encoded: Encoded,
    mixing: Float[Array, ' b'],
    key: Key[Array, ''],
    *,
    thinking: bool,
) -> tuple[Float[Array, ''], Metrics]:
    """`verification_loss` of the pairs of a step.

    All negatives weigh the same (q = 1): the energies are to rank the band, and by inclusion
    probabilities one drawn from all images would count as ten of the band.

    Args:
      model: the verifier.
      encoded: `[b, m + 2, ...]`, as `encoding.encode_views` returns them.
      mixing: `[b]`, as `encoding.encode_views` returns it.
      key: of thinking.
      thinking: whether L_opt is part of it.

    Returns:
      The loss; its terms, the size of a step of thinking and whether it was `clipped`, and
      `nonfinite_inner_step`, -1 for none.
    """
    b, m = encoded.unit.shape[0], encoded.unit.shape[1] - 2
    first = jax.tree.map(lambda x: jnp.repeat(x[:, 0], m + 1, axis=0), encoded)
    second = jax.tree.map(lambda x: x[:, 1:].reshape(-1, *x.shape[2:]), encoded)
    residuals = model.residual(first, second).reshape(b, m + 1)
    energies = model.cosine_energy(first, second).reshape(b, m + 1) + residuals
    thought = {'thinking': jnp.float32(0)}
    metrics = {'clipped': jnp.float32(0), 'nonfinite_inner_step': jnp.float32(-1)}
    if thinking:
        sides = [jax.tree.map(lambda x, place=place: x[:, place], encoded) for place in range(3)]
        thought['thinking'], metrics = _think(model, *sides, key)
    loss, terms = verification_loss(
        energies[:, :m],
        residuals[:, :m],
        energies[:, m],
        mixing=mixing,
        offset=model.offset[...],
        **thought,
    )
    return loss, metrics | terms


def _think(model: Verifier, anchor: Encoded, positive: Encoded, negative: Encoded, key):
    """L_opt: from tokens that are partly those of a negative, or noise, back to the positive's."""
    b, t = positive.tokens.shape[:2]
    noise_key, kind_key, share_key, size_key, steps_key = jax.random.split(key, 5)
    noise = jax.random.normal(noise_key, positive.tokens.shape)
    is_noise = jax.random.bernoulli(kind_key, 0.5, (b, 1, 1))
    start = thinking_start(
        positive.tokens,
        jnp.where(is_noise, noise, negative.tokens),
        jax.random.uniform(share_key, (b,), maxval=_MOST_KEPT),
    )
    size, clipped = model.network.step_size(t)
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
