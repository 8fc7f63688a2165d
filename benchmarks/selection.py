"""What the treatment of difficult pairs adds to a step of a config: selected against plain NT-Xent.

    python -m benchmarks.selection --config configs/digits.py --rounds 5

One device, images of noise; steps of both kinds in turn, medians, as a ratio.
"""

import argparse
import importlib.util
import time

import jax
import numpy as np

from contrastive_jax.data.batches import Batch
from contrastive_jax.models import Moments
from contrastive_jax.training.setup import set_up


def load(path: str, variant: str):
    """The config of a file, as the command line reads it."""
    spec = importlib.util.spec_from_file_location('config', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()


def main() -> None:
    """Parses the options, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    parser.add_argument('--shape', type=int, nargs=3, default=[8, 8, 1])
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    states, steps, times = {}, {}, {}
    for select in ('none', 'difficult'):
        config = load(*options.config.partition(':')[::2])
        config.pairs.update(
            select=select,
            margin=0.1 if select == 'difficult' else 0.0,
            temperature_scale=0.8 if select == 'difficult' else 1.0,
        )
        channels = options.shape[-1]
        moments = Moments((0.5,) * channels, (0.25,) * channels)
        setup = set_up(config, moments, steps_per_epoch=10)
        states[select], times[select] = setup.initial, []
        steps[select] = jax.jit(setup.step, donate_argnums=0)
    images = rng.integers(0, 256, (config.batch_size, *options.shape), dtype=np.uint8)
    batch = jax.device_put(Batch(images, rng.integers(0, 10, len(images), dtype=np.int32)))
    for round_ in range(options.rounds + 1):
        for select, step in steps.items():
            began = time.perf_counter()
            states[select], metrics = step(states[select], batch)
            jax.block_until_ready((states[select], metrics))
            if round_:  # the first compiles
                times[select].append(time.perf_counter() - began)
    plain, selected = (np.array(times[select]) for select in ('none', 'difficult'))
    ratios = selected / plain
    print(
        f'{options.config}, batch {config.batch_size}: plain {np.median(plain):.3f} s, selected '
        f'{np.median(selected):.3f} s; ratio median {np.median(ratios):.3f}, '
        f'{ratios.min():.3f} to {ratios.max():.3f} over {options.rounds} rounds'
    )


if __name__ == '__main__':
    main()
