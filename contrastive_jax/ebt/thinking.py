"""Thinking: descent on a learned energy from a first guess, and the loss that trains the energy.

Axes: b samples of this device, s = steps + 1 states of a trajectory.
Source: Energy-Based Transformers (arXiv 2507.02092), Section 3. Arguments choose
between its methods S1 and S2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from contrastive_jax.numerics import Number, Scalar
from contrastive_jax.training.task import Metrics

__all__ = ['Thought', 'think', 'thinking_loss']


# A function from states `[b, ...]` to their energies `[b]`.
Energy = Callable[[Float[Array, ' b *shape']], Float[Array, ' b']]


class Thought(NamedTuple):
    """The states and energies of thinking.

    Attributes:
      trajectory: `[s, b, ...]` the first guess, and the state after each step.
      energies: `[s, b]` energies of the states that the steps start from, with their noise, and of
        the last state.
      nonfinite: index of the first step whose gradient is not finite for some sample, or -1.
    """

    trajectory: Float[Array, 's b *shape']
    energies: Float[Array, 's b']
    nonfinite: Int[Array, '']


def think(
    energy_fn: Energy,
    candidate: Float[Array, ' b *shape'],
    *,
    steps: int,
    step_size: Scalar | Float[Array, ' b'],
    noise: Number = 0.0,
    key: Key[Array, ' b'] | None = None,
    detach: bool = False,
    last: int | Int[Array, ''] | None = None,
    remat: bool = True,
) -> Thought:
    """Descends an energy from a first guess.

        y_i+1 = z_i - a grad E(z_i),  z_i = y_i + noise e_i,  e_i normal

    The energy of a sample must not depend on other samples, because one gradient serves them all.

    Args:
      energy_fn: function from states `[b, ...]` to energies `[b]`.
      candidate: first guess, `[b, ...]`.
      steps: number of steps, at least 0.
      step_size: step size `a > 0`, a scalar or one for each sample `[b]`.
      noise: standard deviation of the Langevin noise; 0 for none.
      key: random keys `[b]` of the samples, which the noise needs.
      detach: whether to stop the gradient between a state and the one before it. Each step still
        passes a gradient to the parameters of the energy. False passes it through all steps.
      last: index from 1 of the only state that passes a gradient, which comes from its own step
        only. The result is that of `detach` with a loss of this state, but without the backward
        pass of all other steps. None for all states.
      remat: whether the backward pass computes each step again, so that only the states are kept.
        False is faster and keeps all intermediate values of every step.

    Returns:
      The states and their energies.

    Raises:
      ValueError: a negative number of steps, a `last` out of range, or noise without a key.

    Source: Algorithm 1 of the paper. `detach` is S1 of the reference code, and `last` its S2.
    """
    if steps < 0:
        raise ValueError(f'steps={steps}: must be at least 0')
    if isinstance(last, int | np.integer) and not 1 <= last <= steps:
        raise ValueError(f'last={last}: must be a step, from 1 to steps={steps}')
    if noise and key is None:
        raise ValueError(f'noise={noise}: needs a key for each sample')
    size_shape = (-1,) + (1,) * (candidate.ndim - 1)
    size = jnp.reshape(jnp.asarray(step_size, candidate.dtype), size_shape)

    def descend(state, step):
        start = lax.stop_gradient(state) if detach else state
        if noise:
            draw = jax.vmap(
                lambda key: jax.random.normal(
                    jax.random.fold_in(key, step), state.shape[1:], state.dtype
                )
            )
            start = start + jnp.asarray(noise, state.dtype) * draw(key)
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
    # The compiler leaves the backward pass of these steps out. The last step is done again with it.
    thought = lax.stop_gradient(thought)
    before = lax.dynamic_index_in_dim(thought.trajectory, last - 1, keepdims=False)
    after, _ = descend(before, last - 1)
    return thought._replace(trajectory=thought.trajectory.at[last].set(after))


def thinking_loss(
    trajectory: Float[Array, 's b *shape'],
    target: Float[Array, ' b *shape'],
    *,
    last: int | Int[Array, ''] | None = None,
    axis_name: str | None = None,
) -> tuple[Float[Array, ''], Metrics]:
    """Smooth distance between the states of a trajectory and the target.

        loss = mean over states, samples and entries of huber(y - target)

    with `huber(r) = r^2 / 2` for `|r| <= 1` and `|r| - 1/2` otherwise.

    Args:
      trajectory: states `[s, b, ...]`, the first of which is the guess.
      target: target of each sample, `[b, ...]`.
      last: index from 1 to s - 1 of the only state in the loss, which may be drawn for each batch;
        None for all states but the first.
      axis_name: name of the mapped axis; None on one device.

    Returns:
      The mean loss over the samples of all devices, and the metrics `first_error` and `last_error`,
      which are the mean squared errors of the guess and of the last state.

    Raises:
      ValueError: the guess alone, or a `last` of Python or NumPy out of range.

    Source: S1 of the reference code without `last`, and S2 with it.
    """
    states = len(trajectory)
    if states < 2 or (isinstance(last, int | np.integer) and not 1 <= last < states):
        raise ValueError(
            f'last={last}, {states} states: need a guess and at least one more state, and a `last` '
            'from 1 to the number of the latter'
        )
    thought = trajectory[1:] if last is None else trajectory[last][None]
    loss = jnp.mean(optax.losses.huber_loss(thought, jnp.broadcast_to(target, thought.shape)))
    metrics = {
        'first_error': jnp.mean(jnp.square(trajectory[0] - target)),
        'last_error': jnp.mean(jnp.square(thought[-1] - target)),
    }
    return (loss, metrics) if axis_name is None else lax.pmean((loss, metrics), axis_name)
