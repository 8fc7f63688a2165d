"""Pairs a second of pre-training, data to parameters, against lightly's SimCLR on PyTorch.

    benchmarks/peer/setup.sh .venv-peer
    python -m benchmarks.end_to_end --peer .venv-peer/bin/python --data_dir DIR --json out.json

CIFAR-10, ResNet-18 with the CIFAR stem, all augmentations, SGD, NT-Xent. Each side trains a few
steps in turn, in a process of its own that is stopped while the other runs. With a GPU, of which
each side sees the first alone, both compute in bfloat16, and lightly's has what makes PyTorch fast
there: `peer/simclr.py --gpu`.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks import measure
from benchmarks.peer.turns import serve
from benchmarks.sides import one_gpu, started
from benchmarks.steps import on_all_devices
from contrastive_jax import config as base
from contrastive_jax.data import sources
from contrastive_jax.data.batches import make_batch, prefetch, step_indices
from contrastive_jax.models import compute_dtype, pixel_moments
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.training import devices
from contrastive_jax.training.setup import set_up

_PEER = Path(__file__).parent / 'peer' / 'simclr.py'
_OURS = 'contrastive_jax'
_CIFAR_IMAGES = 50_000


def _config(width: int, batch: int):
    config = base.default()
    config.batch_size = batch
    config.model.update(name='resnet18', width=width, projector_width=512, projector_dim=128)
    # For 256 images a step, by which the rate is scaled; the other side has 0.06.
    rate = 0.06 * 256 / batch
    config.optimizer.update(name='sgd', learning_rate=rate, weight_decay=5e-4, warmup_epochs=0)
    config.epochs = 1000
    return config


def train(images: str, width: int, batch: int) -> None:
    """Our side: reads numbers of steps, one a line, and takes them, as `peer/simclr.py` does."""
    config, pixels = _config(width, batch), np.load(images)
    split = sources.Split(pixels, None)
    setup = set_up(config, pixel_moments(pixels), len(pixels) // batch, devices.AXIS)
    step = on_all_devices(setup)

    def batches():
        for number in range(10**9):
            indices = step_indices(config.seed, number, len(pixels), batch)
            yield make_batch(split, indices, jax.device_count())

    with contextlib.closing(prefetch(batches(), devices.split)) as source:

        def finish(metrics):
            jax.block_until_ready(step.state)
            return float(metrics['loss'])

        serve(lambda: step(next(source)), finish)


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--peer', help='Python of the environment of peer/setup.sh')
    parser.add_argument('--data_dir', help='of TFDS, with CIFAR-10; noise where it is not given')
    parser.add_argument('--width', type=int, nargs='+', default=[64, 16])
    parser.add_argument('--batch', type=int, nargs='+', default=[128, 256])
    parser.add_argument('--steps', type=int, default=4, help='a turn')
    parser.add_argument('--serve', metavar='IMAGES', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        return train(options.serve, options.width[0], options.batch[0])

    if len(options.width) != len(options.batch):
        parser.error('--width, --batch: give as many batch sizes as widths')
    report = measure.Report('end_to_end', options.json, compute_dtype('auto'))
    gpu = one_gpu()
    with tempfile.TemporaryDirectory() as folder:
        images = str(Path(folder) / 'images.npy')
        np.save(images, _images(options.data_dir))
        for width, batch in zip(options.width, options.batch, strict=True):
            commands = _commands(images, width, batch, options.peer)
            with started(commands, dict.fromkeys(commands, gpu)) as sides:
                timers = {
                    name: partial(side.seconds, options.steps) for name, side in sides.items()
                }
                times = measure.alternate(timers, options.rounds)
            for name, taken in times.items():
                rate = batch / statistics.median(taken)
                report.add(
                    width=width,
                    batch=batch,
                    side=name,
                    pairs_per_second=rate,
                    epoch_seconds=_CIFAR_IMAGES / rate,
                    our_speed_over_it=measure.ratio(taken, times[_OURS]),
                )
    return None


def _commands(images: str, width: int, batch: int, peer: str | None) -> dict[str, list[str]]:
    """What starts each side."""
    sizes = ['--width', str(width), '--batch', str(batch)]
    ours = [sys.executable, '-m', 'benchmarks.end_to_end', '--serve', images, *sizes]
    if not peer:
        return {_OURS: ours}
    gpu = jax.default_backend() == 'gpu'
    theirs = [peer, str(_PEER), '--images', images, *sizes, *(['--gpu'] if gpu else [])]
    if gpu:
        return {_OURS: ours, 'lightly, kornia': theirs}
    sides = {f'lightly, {count} workers': [*theirs, '--workers', str(count)] for count in (0, 2)}
    channels_last = [*sides['lightly, 2 workers'], '--layout', 'channels_last']
    return {_OURS: ours, **sides, 'lightly, 2 workers, channels last': channels_last}


def _images(data_dir: str | None) -> np.ndarray:
    if data_dir is None:
        rng = host_rng(Use.BENCHMARK_DATA, 0)
        return rng.integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)
    config = base.default().data
    config.update(name='cifar10', data_dir=data_dir)
    return np.asarray(sources.load(config).pretrain.images)[:10_000]


if __name__ == '__main__':
    main()
