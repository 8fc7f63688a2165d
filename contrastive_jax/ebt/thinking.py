"""Thinking: descent on a learned energy from a first guess, and the losses that train the energy.

Axes: b samples of this device, s = steps + 1 states of a trajectory.
Source: Energy-Based Transformers (arXiv 2507.02092), Section 3; its S1 and S2 are arguments here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from contrastive_jax.numerics import Number, Scalar
from contrastive_jax.objectives._compare import Metrics

__all__ = ['Thought', 'think', 'thinking_loss']


class Thought(NamedTuple):
    """What became of a guess.

    Attributes:
      trajectory: `[s, b, ...]` the guess as it came, and after each step.
      energies: `[s, b]` of what the steps start from, their noise added, and of the last state.
      nonfinite: first step, from 0, whose gradient is not finite for some sample; -1 for none.
    """

    trajectory: Float[Array, 's b *shape']
    energies: Float[Array, 's b']
    nonfinite: Int[Array, '']


def think(
    energy_fn: Callable[[Float[Array, 'b *shape']], Float[Array, ' b']],
    candidate: Float[Array, 'b *shape'],
    *,
    steps: int,
    step_size: Scalar | Float[Array, ' b'],
    noise: Number = 0.0,
    key: Key[Array, ' b'] | None = None,
    detach: bool = False,
    last: int | Int[Array, ''] | None = None,
    remat: bool = True,
) -> Thought:
    """Lets a guess descend the energy.

        y_i+1 = z_i - a grad E(z_i),  z_i = y_i + noise e_i,  e_i normal

    The energy of a sample must not depend on the others, so that one gradient serves them all.

    Args:
      energy_fn: energies `[b]` of states `[b, ...]`.
      candidate: `[b, ...]` the first guess.
      steps: how many, at least 0.
      step_size: `a > 0`, one or of each sample `[b]`.
      noise: standard deviation of the Langevin noise; 0 for none.
      key: of each sample `[b]`, with noise.
      detach: no gradient passes from a state to the one before it; each step still passes one to
        the parameters of the energy. False for the whole unroll.
      last: the one state, from 1, that passes a gradient, and that of its own step alone: what
        `detach` and a loss of this state come to, without the backward pass of all other steps.
      remat: compute each step again in the backward pass, so that only the states are kept; False
        is faster by that, and keeps all that every step needs.

    Raises:
      ValueError: a negative number of steps, a `last` that is none of them, or noise without a key.

    Source: Algorithm 1 there; the reference code's S1 with `detach`, its S2 with `last`.
    """
    if steps < 0:
        raise ValueError(f'steps={steps}: must be at least 0')
    if isinstance(last, int) and not 1 <= last <= steps:
        raise ValueError(f'last={last}: must be a step, from 1 to steps={steps}')
    if noise and key is None:
        raise ValueError(f'noise={noise}: needs a key for each sample')
    wide = (-1,) + (1,) * (candidate.ndim - 1)
    size = jnp.reshape(jnp.asarray(step_size, candidate.dtype), wide)

    def descend(state, step):
        start = lax.stop_gradient(state) if detach else state
        if noise:
            draw = jax.vmap(
                lambda key: jax.random.normal(jax.random.fold_in(key, step), state.shape[1:])
            )
            start = start + noise * draw(key)
        energies, pull = jax.vjp(energy_fn, start)
        (slope,) = pull(jnp.ones_like(energies))
        after = start - size * slope
        return after, (after, energies, jnp.all(jnp.isfinite(slope)))

    if remat:
        # In a scan nothing is merged across iterations, so the barriers against that only cost.
        descend = jax.checkpoint(descend, prevent_cse=False)
    end, (states, energies, finite) = lax.scan(descend, candidate, jnp.arange(steps))
    thought = Thought(
        jnp.concatenate([candidate[None], states]),
        jnp.concatenate([energies, energy_fn(end)[None]]),
        jnp.where(jnp.all(finite), -1, jnp.argmin(finite)) if steps else jnp.int32(-1),
    )
    if last is None:
        return thought
    # Without gradient so far, which the compiler then leaves out; the step that counts, again.
    thought = lax.stop_gradient(thought)
    before = lax.dynamic_index_in_dim(thought.trajectory, last - 1, keepdims=False)
    after, _ = descend(before, last - 1)
    return thought._replace(trajectory=thought.trajectory.at[last].set(after))


def thinking_loss(
    trajectory: Float[Array, 's b *shape'],
    target: Float[Array, 'b *shape'],
    *,
    last: int | Int[Array, ''] | None = None,
    axis_name: str | None = None,
) -> tuple[Float[Array, ''], Metrics]:
    """Smooth distance of the states of a trajectory from what they should become.

        loss = mean over states, samples and entries of huber(y - target)

    with `huber(r) = r^2 / 2` up to 1 and `|r| - 1/2` beyond.

    Args:
      trajectory: `[s, b, ...]`, its first state the guess.
      target: `[b, ...]`.
      last: the one state that counts, 1 to s - 1, which may be drawn for each batch; None for the
        mean over all but the first.
      axis_name: mapped axis of the devices; None on one.

    Returns:
      The loss, the mean over the samples of all devices, and the metrics `first_error` and
      `last_error`, mean squared errors of the guess and of what was made of it.

    Source: with None S1, with a state S2, as in `think`.
    """
    thought = trajectory[1:] if last is None else trajectory[last][None]
    loss = jnp.mean(optax.losses.huber_loss(thought, jnp.broadcast_to(target, thought.shape)))
    metrics = {
        'first_error': jnp.mean(jnp.square(trajectory[0] - target)),
        'last_error': jnp.mean(jnp.square(thought[-1] - target)),
    }
    return (loss, metrics) if axis_name is None else lax.pmean((loss, metrics), axis_name)
