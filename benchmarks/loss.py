"""Memory and time of NT-Xent with difficult pairs, with and without blocks.

    python -m benchmarks.loss --images 256 1024 4096 --blocks 0 32 64 256

Value and gradient of the combined treatment, its selection included. Memory is what the compiler
sets aside for temporary arrays, beside that of one whole matrix of similarities. Times are medians
of alternating rounds, as ratios to no blocks.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from contrastive_jax.objectives import difficult_band, nt_xent


def compiled(images: int, dim: int, block_size: int):
    """Value and gradient for `2 * images` rows, compiled."""

    def loss(embeddings, features):
        band = difficult_band(features, pos_high=0.1, pos_low=0.5, block_size=block_size)
        return nt_xent(
            embeddings,
            temperature=0.2,
            pairs=band,
            margin=0.1,
            temperature_scale=0.8,
            block_size=block_size,
        )

    rows = jax.ShapeDtypeStruct((2 * images, dim), jnp.float32)
    return jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(rows, rows).compile()


def seconds(function, *arguments) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - began


def main() -> None:
    """Parses the options, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, nargs='+', default=[256, 1024, 4096])
    parser.add_argument(
        '--blocks', type=int, nargs='+', default=[0, 32, 64, 256], help='0 for no blocks'
    )
    parser.add_argument('--dim', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=5, help='0 measures memory alone')
    parser.add_argument('--json', help='file to write')
    options = parser.parse_args()
    rows = []
    print(f'{"images":>7} {"block":>6} {"MiB":>8} {"matrix/":>8} {"time":>6}')
    for images in options.images:
        programs = {
            block: compiled(images, options.dim, block or 2 * images) for block in options.blocks
        }
        data = [
            jax.random.normal(jax.random.key(seed), (2 * images, options.dim)) for seed in (0, 1)
        ]
        times: dict[int, list[float]] = {block: [] for block in programs}
        for round_ in range(options.rounds + 1 if options.rounds else 0):
            for block, program in programs.items():
                taken = seconds(program, *data)
                if round_:  # the first warms up
                    times[block].append(taken)
        for block, program in programs.items():
            memory = program.memory_analysis().temp_size_in_bytes
            share = 4 * (2 * images) ** 2 / memory
            ratio = ''
            if options.rounds:
                ratio = f'{np.median(times[block]) / np.median(times[options.blocks[0]]):.2f}'
            print(f'{images:7} {block or "none":>6} {memory / 2**20:8.1f} {share:8.1f} {ratio:>6}')
            rows.append(
                {
                    'images': images,
                    'block': block,
                    'bytes': memory,
                    'seconds': times[block],
                }
            )
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(rows, file, indent=2)


if __name__ == '__main__':
    main()
