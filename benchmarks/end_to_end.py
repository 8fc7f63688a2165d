"""Pairs a second of pre-training, data to parameters, against lightly's SimCLR on PyTorch.

    benchmarks/peer/setup.sh .venv-peer
    python -m benchmarks.end_to_end --peer .venv-peer/bin/python --data_dir DIR --json out.json

CIFAR-10, ResNet-18 with the CIFAR stem, all augmentations, SGD, NT-Xent. Each side trains a few
steps in turn, in a process of its own that is stopped while the other runs.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import measure
from contrastive_jax import config as base
from contrastive_jax.data import sources
from contrastive_jax.data.batches import make_batch, prefetch, step_indices
from contrastive_jax.models import pixel_moments
from contrastive_jax.training import devices
from contrastive_jax.training.setup import set_up

_PEER = Path(__file__).parent / 'peer' / 'simclr.py'


def _config(width: int, batch: int):
    config = base.default()
    config.batch_size = batch
    config.model.update(name='resnet18', width=width, projector_width=512, projector_dim=128)
    config.optimizer.update(name='sgd', learning_rate=0.06 * batch / 128, warmup_epochs=0)
    config.epochs = 1000
    return config


def serve(images: str, width: int, batch: int) -> None:
    """Our side: for each line, so many steps; prints the seconds, as `peer/simclr.py` does."""
    config, pixels = _config(width, batch), np.load(images)
    split = sources.Split(pixels, None)
    setup = set_up(config, pixel_moments(pixels), len(pixels) // batch, devices.AXIS)
    state, step = devices.replicate(setup.initial), devices.map_over_devices(setup.step)

    def batches():
        for number in range(10**9):
            indices = step_indices(config.seed, number, len(pixels), batch)
            yield make_batch(split, indices, jax.device_count())

    with contextlib.closing(prefetch(batches(), devices.split)) as source:
        print('ready', flush=True)
        for line in sys.stdin:
            began = time.perf_counter()
            for _ in range(int(line)):
                state, metrics = step(state, next(source))
            jax.block_until_ready((state, metrics))
            print(time.perf_counter() - began, float(metrics['loss']), flush=True)


class Side:
    """A process that trains when asked to, and stands still otherwise."""

    def __init__(self, command: list[str]):
        """Starts it, waits until it is ready, and stops it."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )
        if self.process.stdout.readline() != 'ready\n':
            raise SystemExit(f'{" ".join(command)} does not start')
        self._signal(signal.SIGSTOP)

    def train(self, steps: int) -> float:
        """Seconds of so many steps."""
        self._signal(signal.SIGCONT)
        self.process.stdin.write(f'{steps}\n')
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline().split()[0])
        self._signal(signal.SIGSTOP)
        return seconds

    def close(self) -> None:
        """Ends it."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number) -> None:
        os.killpg(self.process.pid, number)


def compare(sides: dict[str, list[str]], *, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, round by round."""
    with contextlib.ExitStack() as stack:
        started = {
            name: stack.enter_context(contextlib.closing(Side(command)))
            for name, command in sides.items()
        }
        return measure.alternate(started, rounds, timer=lambda side: side.train(steps))


def main() -> None:
    """Parses the options, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--peer', help='Python of the environment of peer/setup.sh')
    parser.add_argument('--data_dir', help='of TFDS, with CIFAR-10; noise where it is not given')
    parser.add_argument('--width', type=int, nargs='+', default=[64, 16])
    parser.add_argument('--batch', type=int, nargs='+', default=[128, 256])
    parser.add_argument('--steps', type=int, default=4, help='a turn')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', help='file to write')
    parser.add_argument('--serve', metavar='IMAGES', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, options.width[0], options.batch[0])

    with tempfile.TemporaryDirectory() as folder:
        images = str(Path(folder) / 'images.npy')
        np.save(images, _images(options.data_dir))
        rows, top = [], measure.ceiling()
        for width, batch in zip(options.width, options.batch, strict=True):
            sizes = ['--width', str(width), '--batch', str(batch)]
            ours = [sys.executable, '-m', 'benchmarks.end_to_end', '--serve', images, *sizes]
            sides = {'contrastive_jax': ours}
            for workers in (0, 2) if options.peer else ():
                peer = [options.peer, str(_PEER), '--images', images, *sizes]
                sides[f'lightly, {workers} workers'] = [*peer, '--workers', str(workers)]
            times = compare(sides, steps=options.steps, rounds=options.rounds)
            for name, taken in times.items():
                row = {
                    'width': width,
                    'batch': batch,
                    'side': name,
                    'pairs_per_second': options.steps * batch / statistics.median(taken),
                    'ours_over_it': measure.ratio(taken, times['contrastive_jax']),
                }
                rows.append(row)
                print(
                    f'width {width:3d}  batch {batch:4d}  {name:22s} '
                    f'{row["pairs_per_second"]:8.1f} pairs/s  ours over it {row["ours_over_it"]}',
                    flush=True,
                )
    measure.write(options.json, 'end_to_end', rows, top)
    return None


def _images(data_dir: str | None) -> np.ndarray:
    if data_dir is None:
        return np.random.default_rng(0).integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)
    config = base.default().data
    config.update(name='cifar10', data_dir=data_dir)
    return np.asarray(sources.load(config).pretrain.images)[:10_000]


if __name__ == '__main__':
    main()
