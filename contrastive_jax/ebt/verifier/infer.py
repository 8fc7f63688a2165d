"""Computes the energies of pairs with a trained verifier, and how thinking changes them.

Axes: n images, p pairs, s = steps + 1 states of thinking.
"""

import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.stages import Compiled
from jaxtyping import Array, Float, Int

from contrastive_jax.ebt.thinking import think
from contrastive_jax.ebt.verifier.fitting import Fitted
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import progress

__all__ = ['Energies', 'cost', 'pair_energies']

# Pairs at a time, and repetitions of a time measurement.
_BATCH, _ROUNDS = 1024, 5


class Energies(NamedTuple):
    """Energies of pairs (a, b), and their changes by K steps of thinking about b.

    Attributes:
      energy: `[p]` energy F(a, b).
      gain: `[s, p]` decrease G_K = E(a, b) - E(a, b_K) of E, for K from 0.
      motion: `[s, p]` squared distance d_K = |b_K - b|^2, for K from 0.
    """

    energy: Float[np.ndarray, ' p']
    gain: Float[np.ndarray, 's p']
    motion: Float[np.ndarray, 's p']


def pair_energies(
    fitted: Fitted,
    first: Encoded,
    second: Encoded,
    i: Int[np.ndarray, ' p'],
    j: Int[np.ndarray, ' p'],
    *,
    steps: int = 0,
) -> Energies:
    """Computes the energies of the pairs `(first[i], second[j])`.

    Args:
      fitted: trained verifier.
      first: encodings that the first image of each pair is taken from.
      second: encodings that the second image of each pair is taken from.
      i: rows of `first`.
      j: rows of `second`.
      steps: number of steps of thinking.

    Raises:
      UserError: a gradient of thinking is not finite; the message names the step.
    """
    parts: list[tuple] = []
    starts = range(0, len(i), _BATCH)
    for start in progress.track(starts, 'energies', unit='batch'):
        count = min(_BATCH, len(i) - start)
        rows = [np.resize(x[start : start + _BATCH], _BATCH) for x in (i, j)]
        pairs = _take(first, rows[0]), _take(second, rows[1])
        *energies, nonfinite = jax.device_get(
            _energies(fitted.params, *pairs, fitted.graphdef, steps)
        )
        if nonfinite >= 0:
            raise UserError(
                f'--workdir: inner step {nonfinite} of thinking: the gradient is not finite; train '
                'the verifier again, with fewer --steps or another --seed'
            )
        parts.append(tuple(x[..., :count] for x in energies))
    return Energies(*(np.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))


# A program of its own, so that the energies are compiled once for data sets of all sizes.
@jax.jit
def _take(encoded: Encoded, rows: Int[Array | np.ndarray, ' p']) -> Encoded:
    return jax.tree.map(lambda x: x[rows], encoded)


@partial(jax.jit, static_argnums=(3, 4))
def _energies(
    params: Any, a: Encoded, b: Encoded, graphdef: nnx.GraphDef, steps: int
) -> tuple[Array, Array, Array, Array]:
    """Energy `[p]`, gain `[s, p]`, motion `[s, p]`, and the first step that is not finite or -1."""
    model = nnx.merge(graphdef, params)
    if not steps:
        residual = model.residual(a, b)
        zeros = jnp.zeros((1, len(residual)))
        return model.cosine_energy(a, b) + residual, zeros, zeros, jnp.int32(-1)
    thought = think(
        lambda tokens: model.residual(a, b._replace(tokens=tokens)),
        b.tokens,
        steps=steps,
        step_size=model.step_size(b.tokens.shape[1])[0],
    )
    motion = jnp.sum(jnp.square(thought.trajectory - b.tokens[None]), axis=(2, 3))
    gain = thought.energies[:1] - thought.energies
    energy = model.cosine_energy(a, b) + thought.energies[0]
    return energy, gain, motion, thought.nonfinite


def cost(fitted: Fitted, encoded: Encoded, steps: int) -> dict[str, dict[str, float | None]]:
    """Measures the FLOPs and the seconds of a pair, without the encoder.

    Args:
      fitted: trained verifier.
      encoded: encodings to measure with.
      steps: number of steps of thinking in the last row.

    Returns:
      By program: `flops` as the compiler counts them, or None; `seconds`; and `time_ratio`, the
      seconds divided by those of the cosine.
    """
    rows = jnp.arange(_BATCH) % len(encoded.unit)
    a, b = _take(encoded, rows), _take(encoded, rows[::-1])

    def cosine(u, v):
        return jnp.sum(u * v, axis=-1)

    def energy(steps):
        arguments = (fitted.params, a, b, fitted.graphdef, steps)
        return _energies.lower(*arguments).compile(), arguments[:3]

    arguments = (a.unit, b.unit)
    programs = {
        'cosine': (jax.jit(cosine).lower(*arguments).compile(), arguments),
        'energy': energy(0),
        f'energy and {steps} steps': energy(steps),
    }
    flops = {name: _flops(program) for name, (program, _) in programs.items()}
    seconds = {name: _seconds(*program) for name, program in programs.items()}
    thinking, plain = flops[f'energy and {steps} steps'], flops['energy']
    if thinking is not None and plain is not None:
        # The compiler counts the body of a loop once, however often it runs.
        flops[f'energy and {steps} steps'] = thinking + (steps - 1) * (thinking - plain)
    return {
        name: {
            'flops': flops[name],
            'seconds': seconds[name],
            'time_ratio': seconds[name] / seconds['cosine'],
        }
        for name in programs
    }


def _flops(program: Compiled) -> float | None:
    """FLOPs of a pair, or None if the compiler does not count them."""
    analysis = program.cost_analysis() or {}
    return analysis['flops'] / _BATCH if 'flops' in analysis else None


def _seconds(program: Compiled, arguments: Sequence) -> float:
    """Median seconds of a pair."""
    times = []
    for _ in range(_ROUNDS):
        start_time = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - start_time)
    return statistics.median(times) / _BATCH
