"""Time and memory of NT-Xent alone, in blocks and not, beside optax's and lightly's.

    python -m benchmarks.loss --images 256 1024 4096 --peer .venv-peer/bin/python --json out.json

Value and gradient; `treated` has the combined treatment of difficult pairs, its selection by
`--features` numbers of the encoder included.
Ours and optax's memory is what the compiler sets aside for temporary arrays; lightly's the growth
of its process. What needs more memory than `--most_gib` is compiled and not run; lightly's, whose
need is not known before, where ours without blocks would need more.

Axes: b images, m = 2b views, k features, d embedding.
"""

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from benchmarks import measure
from benchmarks.sides import started
from benchmarks.steps import compiled
from contrastive_jax.numerics import default_block
from contrastive_jax.objectives import difficult_band, nt_xent
from contrastive_jax.randomness import KeyUse, device_key

_PEER = Path(__file__).parent / 'peer' / 'losses.py'
_LIGHTLY = 'lightly'
# A turn of a small batch takes as many calls as make it as long as one of so many images, or of
# eight times as many on a GPU.
_LONG_ENOUGH, _MOST_CALLS = 1024, 64


def treated(embeddings, features, block_size: int):
    """Selection and combined treatment."""
    band = difficult_band(features, pos_high=0.1, pos_low=0.5, block_size=block_size)
    return nt_xent(
        embeddings,
        temperature=0.2,
        pairs=band,
        margin=0.1,
        temperature_scale=0.8,
        block_size=block_size,
    )[0]


def plain(embeddings, features, block_size: int):
    """No pairs are selected."""
    return nt_xent(embeddings, temperature=0.2, block_size=block_size)[0]


def optax_loss(embeddings, features):
    """NT-Xent of optax, which finds the views of an image by a label that they share."""
    labels = jnp.tile(jnp.arange(len(embeddings) // 2), 2)
    with jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow'):
        return optax.losses.ntxent(embeddings, labels, temperature=0.2)


def losses(images: int) -> dict[str, Callable]:
    """The losses by name; those without blocks have all anchors in one."""
    losses = {}
    for name, loss in (('plain', plain), ('treated', treated)):
        blocks = {'blocks': default_block(2 * images), 'no blocks': 2 * images}
        losses |= {
            f'{name}, {kind}': partial(loss, block_size=size) for kind, size in blocks.items()
        }
    return {**losses, 'optax': optax_loss}


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--images', type=int, nargs='+', default=[256, 1024, 4096])
    parser.add_argument('--dim', type=int, default=128)
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--most_gib', type=float, default=8.0, help='0 measures memory alone')
    parser.add_argument('--peer', help='Python of the environment of peer/setup.sh')
    options = parser.parse_args(arguments)
    report = measure.Report('loss', options.json)
    for images in options.images:
        for row in _rows(images, options):
            report.add(images=images, **row)


def _rows(images: int, options):
    """The rows of the table for one number of images."""
    shapes = [
        jax.ShapeDtypeStruct((2 * images, size), jnp.float32)
        for size in (options.dim, options.features)
    ]
    programs = {
        name: compiled(jax.value_and_grad(loss), *shapes) for name, loss in losses(images).items()
    }
    memory = {
        name: program.memory_analysis().temp_size_in_bytes for name, program in programs.items()
    }
    runs = {name: need <= options.most_gib * 2**30 for name, need in memory.items()}
    data = [
        jax.random.normal(device_key(KeyUse.BENCHMARK_DATA, seed), shape.shape)
        for seed, shape in enumerate(shapes)
    ]
    long_enough = _LONG_ENOUGH * (1 if jax.default_backend() == 'cpu' else 8)
    calls = min(max(1, long_enough // images) ** 2, _MOST_CALLS)
    timers = {
        name: measure.timed(partial(program, *data), calls)
        for name, program in programs.items()
        if runs[name]
    }
    peer = [options.peer, str(_PEER), '--images', str(images), '--dim', str(options.dim)]
    peer += ['--gpu'] if jax.default_backend() == 'gpu' else []
    beside = options.peer and runs['plain, no blocks']
    with started({_LIGHTLY: peer}) if beside else nullcontext({}) as sides:
        timers |= {name: partial(side.seconds, calls) for name, side in sides.items()}
        times = measure.alternate(timers, options.rounds)
        memory |= {name: int(side.shown) for name, side in sides.items()}
    for name, need in memory.items():
        ran = name in times
        yield {
            'loss': name,
            'mib': need / 2**20,
            'seconds': statistics.median(times[name]) if ran else None,
            'over_plain': measure.ratio(times[name], times['plain, blocks']) if ran else None,
        }


if __name__ == '__main__':
    main()
