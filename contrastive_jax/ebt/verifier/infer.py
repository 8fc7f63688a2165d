"""What a trained verifier says of pairs: energies, and what thinking changes about them.

Axes: n images, p pairs, s = steps + 1 states of thinking.
"""

import statistics
import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from contrastive_jax.ebt.thinking import think
from contrastive_jax.ebt.verifier.fit import Fitted
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import progress

__all__ = ['Energies', 'cost', 'pair_energies']

_BATCH = 1024
_ROUNDS = 5


class Energies(NamedTuple):
    """Of pairs (a, b), before and after each number of steps of thinking about b.

    Attributes:
      energy: `[p]`, F(a, b).
      gain: `[s, p]`, G_K = E(a, b) - E(a, b_K), by K from 0; 0 for K = 0.
      motion: `[s, p]`, d_K = |b_K - b|^2.
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
    """Energies of the pairs `(first[i], second[j])`.

    Args:
      fitted: the verifier.
      first: `[n]` images.
      second: `[n]` images, maybe others.
      i: rows of the first.
      j: rows of the second.
      steps: of thinking.

    Raises:
      UserError: a gradient of thinking is not finite, named with its step.
    """
    parts: list[tuple] = []
    starts = range(0, len(i), _BATCH)
    for start in progress.track(starts, 'energies', unit='batch'):
        real = min(_BATCH, len(i) - start)
        rows = [np.resize(x[start : start + _BATCH], _BATCH) for x in (i, j)]
        pairs = _take(first, rows[0]), _take(second, rows[1])
        found = jax.device_get(_energies(fitted.params, *pairs, fitted.graphdef, steps))
        if found[-1] >= 0:
            raise UserError(
                f'--workdir: inner step {found[-1]} of thinking: the gradient is not finite; train '
                'the verifier again, with fewer --steps or another --seed'
            )
        parts.append(tuple(x[..., :real] for x in found[:-1]))
    return Energies(*(np.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))


# Apart from the energies, which are then compiled once for data sets of all sizes.
@jax.jit
def _take(encoded: Encoded, rows) -> Encoded:
    return jax.tree.map(lambda x: x[rows], encoded)


@partial(jax.jit, static_argnums=(3, 4))
def _energies(params, a: Encoded, b: Encoded, graphdef, steps: int):
    model = nnx.merge(graphdef, params)
    if not steps:
        residual = model.residual(a, b)
        nothing = jnp.zeros((1, len(residual)))
        return model.cosine_energy(a, b) + residual, nothing, nothing, jnp.int32(-1)
    thought = think(
        lambda tokens: model.residual(a, b._replace(tokens=tokens)),
        b.tokens,
        steps=steps,
        step_size=model.network.step_size(b.tokens.shape[1])[0],
    )
    motion = jnp.sum(jnp.square(thought.trajectory - b.tokens[None]), axis=(2, 3))
    gain = thought.energies[:1] - thought.energies
    energy = model.cosine_energy(a, b) + thought.energies[0]
    return energy, gain, motion, thought.nonfinite


def cost(fitted: Fitted, encoded: Encoded, steps: int) -> dict[str, dict[str, float | None]]:
    """FLOPs as the compiler counts them, and measured seconds, of a pair; without the encoder.

    Args:
      fitted: the verifier.
      encoded: some images.
      steps: of thinking, for the last row.
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
    found = {name: _cost(*program) for name, program in programs.items()}
    thinking, plain = found[f'energy and {steps} steps'], found['energy']
    if thinking['flops'] is not None:
        # The compiler counts the body of a loop once, however often it runs.
        thinking['flops'] += (steps - 1) * (thinking['flops'] - plain['flops'])
    for row in found.values():
        row['time_ratio'] = row['seconds'] / found['cosine']['seconds']
    return found


def _cost(program, arguments) -> dict[str, float | None]:
    analysis = program.cost_analysis() or {}
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - began)
    flops = analysis['flops'] / _BATCH if 'flops' in analysis else None
    return {'flops': flops, 'seconds': statistics.median(times) / _BATCH}
