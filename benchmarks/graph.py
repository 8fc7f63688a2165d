"""Cost of `sample_difficulty` beside a bare blocked product of the features, kept nowhere.

    python -m benchmarks.graph --sizes 5000 10000 20000 50000 --blocks 32

Both run in one process, one after the other, round after round; the table holds medians and the
median ratio of a round, with its range. Run it on a quiet machine.

Axes: n samples, k features.
"""

import argparse
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from contrastive_jax.graph import sample_difficulty
from contrastive_jax.numerics import cosines, map_anchors


@functools.partial(jax.jit, static_argnames='block_size')
def bare_product(features, block_size):
    """`features @ features.T` block by block, of which one number a row is looked at."""

    def row(anchor):
        # Without the barrier only the one number would be computed.
        return lax.optimization_barrier(cosines(features, anchor))[0]

    return map_anchors(row, features, block_size)


def seconds(function):
    """Wall-clock time of one call, its result ready."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def measure(n, k, block_size, rounds):
    """One row of the table."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, k))
    # Ten classes that overlap.
    noise = rng.normal(size=(n, k), scale=1.5)
    features = jnp.asarray(centres[rng.integers(10, size=n)] + noise, jnp.float32)
    product = functools.partial(bare_product, features, block_size)
    difficulty = functools.partial(
        sample_difficulty, features, pos_high=0.1, pos_low=0.2, block_size=block_size
    )
    jax.block_until_ready((product(), difficulty()))
    times = [(seconds(product), seconds(difficulty)) for _ in range(rounds)]
    ratios = [ours / bare for bare, ours in times]
    return {
        'n': n,
        'k': k,
        'block': block_size,
        'bare_seconds': statistics.median(bare for bare, _ in times),
        'difficulty_seconds': statistics.median(ours for _, ours in times),
        'ratio': statistics.median(ratios),
        'ratio_min': min(ratios),
        'ratio_max': max(ratios),
    }


def main():
    """Prints the table, row by row, and writes it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', type=int, nargs='+', default=[5000, 10000, 20000, 50000])
    parser.add_argument('--blocks', type=int, nargs='+', default=[32])
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--json', help='file to write the rows to, with versions and device')
    arguments = parser.parse_args()

    print('       n      k  block   bare s  difficulty s   ratio (range)')
    rows = []
    for n in arguments.sizes:
        for block in arguments.blocks:
            row = measure(n, arguments.features, block, arguments.rounds)
            rows.append(row)
            print(
                '{n:8d} {k:6d} {block:6d} {bare_seconds:8.2f} {difficulty_seconds:13.2f} '
                '{ratio:7.2f} ({ratio_min:.2f} to {ratio_max:.2f})'.format(**row),
                flush=True,
            )
    if arguments.json:
        with open(arguments.json, 'w') as file:
            device = jax.devices()[0].device_kind
            json.dump({'jax': jax.__version__, 'device': device, 'rows': rows}, file, indent=2)


if __name__ == '__main__':
    main()
