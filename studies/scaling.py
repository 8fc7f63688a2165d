"""How validation loss falls with data: an energy beside a feed-forward denoiser of equal size.

    python -m studies.scaling --subsets 84 168 337 674 1347 --seeds 3 --out OUT
    python -m studies.scaling --config configs/ebt_denoise.py:cifar10 --data_dir DIR \
        --subsets 5000 50000 --out OUT

Each is trained for as many steps on so many of the images, then measured on the test images at the
trained noise after the number of evaluations that it was trained with. Fits
`log error = log A - b log n` to each seed. Intervals are 95 % t-intervals over the seeds; the two
are compared seed by seed, since a seed draws the same images for both. A batch has no more images
than there are, and the learning rate follows it.

    python -m studies.scaling --redraw --out docs/results/ebt
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from contrastive_jax.data import sources
from contrastive_jax.ebt.quality import denoising_quality
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.reporting import style
from contrastive_jax.runtime.files import read_json, write_json
from contrastive_jax.training.loop import pretrain
from launch.grids.ebt_denoise import CELLS
from studies.inputs import add_config, config_from
from studies.measures import interval
from studies.outputs import check_new, command

__all__ = ['compared', 'main', 'slopes']

_KINDS = {'feed-forward': CELLS['feed-forward'], 'energy': CELLS['energy, S1']}
# What scaling.json has from training; all else follows from it.
_MEASURED = ('subsets', 'steps', 'errors', 'flops')


def slopes(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """b of `error = A n^-b` by least squares of the logarithms: `[seeds]` of `[seeds, sizes]`."""
    x = np.log(sizes) - np.mean(np.log(sizes))
    return -np.log(errors) @ x / np.sum(x * x)


def compared(sizes: np.ndarray, errors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The slopes, and that of the feed-forward network less that of the energy, with intervals."""
    found = {kind: slopes(sizes, values) for kind, values in errors.items()}
    less = found['feed-forward'] - found['energy']
    return {
        'slopes': {kind: float(values.mean()) for kind, values in found.items()},
        'slope_intervals': {kind: interval(values) for kind, values in found.items()},
        'feed_forward_less_energy': float(less.mean()),
        'difference_interval': interval(less),
    }


def _train(kind: str, count: int, seed: int, options) -> tuple[float, float]:
    """Mean squared error on the test images, and FLOPs of an evaluation of an image."""
    config = config_from(options.config, options.data_dir)
    config.update_from_flattened_dict(_KINDS[kind])
    config.seed, config.batch_size = seed, min(config.batch_size, count)
    config.steps = options.steps
    # The warm-up takes this share of the steps.
    config.optimizer.warmup_epochs = config.epochs / 10
    data = sources.load(config.data)
    chosen = host_rng(Use.SCALING_SUBSET, seed, count).permutation(len(data.train.images))[:count]
    split = sources.Split(data.train.images[np.sort(chosen)], None)
    with tempfile.TemporaryDirectory() as folder:
        graphdef, _, final, _ = pretrain(config, split, Path(folder))
    images, labels, _ = data.test
    quality = denoising_quality(
        graphdef, final.params, final.stats, images, config.denoise, seed, labels
    )
    decibels = quality['psnr'][f'gaussian {config.denoise.level}'][1]
    return 4 * 10 ** (-decibels / 10), quality['flops']


def _measure(options) -> dict[str, Any]:
    """Trains both kinds on each number of images with each seed."""
    errors = {kind: np.zeros((options.seeds, len(options.subsets))) for kind in _KINDS}
    flops = {}
    places = range(len(options.subsets))
    todo = [(k, s, p) for s in range(options.seeds) for p in places for k in _KINDS]
    for kind, seed, index in tqdm(todo, 'scaling', disable=None):
        count = options.subsets[index]
        errors[kind][seed, index], flops[kind] = _train(kind, count, seed, options)
    return {
        'subsets': options.subsets,
        'steps': options.steps,
        'errors': {kind: values.tolist() for kind, values in errors.items()},
        'flops': flops,
    }


def _fitted(measured: dict[str, Any]) -> dict[str, Any]:
    """What was measured, and what follows from it."""
    sizes = np.array(measured['subsets'], float)
    errors = {kind: np.array(values) for kind, values in measured['errors'].items()}
    ratios = (errors['energy'] / errors['feed-forward']).T
    result = {
        **measured,
        **compared(sizes, errors),
        # Of the errors, energy over feed-forward, for each number of images.
        'ratios': ratios.mean(axis=1).tolist(),
        'ratio_intervals': [interval(row) for row in ratios],
    }
    larger = sizes > sizes.min()
    if len(set(sizes[larger])) > 1:
        rest = {kind: values[:, larger] for kind, values in errors.items()}
        result['without_the_smallest'] = compared(sizes[larger], rest)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the options, trains, fits, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser, 'configs/ebt_denoise.py')
    parser.add_argument('--subsets', type=int, nargs='+', default=[84, 168, 337, 674, 1347])
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--out', required=True, help='folder for scaling.json and scaling.png')
    parser.add_argument('--redraw', action='store_true', help='fit what is there, train nothing')
    options = parser.parse_args(arguments)
    out = Path(options.out)
    if options.redraw:
        stored = read_json(out / 'scaling.json')
        measured = {name: stored[name] for name in _MEASURED}
    else:
        check_new(out / 'scaling.json', out / 'scaling.png')
        _check(options, parser)
        measured = _measure(options)
    result = _fitted(measured)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / 'scaling.json', result)
    print(json.dumps(result, indent=2))
    _draw(result, out / 'scaling.png')


def _check(options, parser: argparse.ArgumentParser) -> None:
    """Ends with a line where a number is too small, or the numbers of images do not fit."""
    for name in ('subsets', 'seeds', 'steps'):
        value = getattr(options, name)
        if np.min(value) < 1:
            parser.error(f'--{name}={value}: must be at least 1')
    if len(set(options.subsets)) < 2:
        parser.error(f'--subsets={options.subsets}: a slope needs at least two sizes')
    config = config_from(options.config, options.data_dir)
    images = len(sources.load(config.data).train.images)
    if max(options.subsets) > images:
        parser.error(f'--subsets={options.subsets}: there are {images} training images')


@matplotlib.rc_context(style.FIGURE)
def _draw(result: dict, path: Path) -> None:
    """Mean error with the least and the largest of the seeds."""
    figure = Figure(figsize=(8, 3.4), layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    sizes = np.array(result['subsets'], float)
    for colour, (kind, values) in zip(style.LIGHT, result['errors'].items(), strict=False):
        errors = np.array(values)
        # Training asks for the gradient of an evaluation: some three times its cost.
        cost = 3 * result['flops'][kind] / 1e6
        for axis, at in zip(axes, (sizes, sizes * cost), strict=True):
            low, high = errors.mean(0) - errors.min(0), errors.max(0) - errors.mean(0)
            name = f'{kind}, slope {_shown(result, kind)}'
            axis.errorbar(
                at, errors.mean(0), (low, high), marker='o', capsize=3, color=colour, label=name
            )
    for axis, name in zip(axes, ('training images', 'MFLOP of a pass over them'), strict=True):
        axis.set(xscale='log', yscale='log', xlabel=name)
    axes[0].set_ylabel('mean squared error, test')
    axes[0].legend(fontsize=8)
    style.save(figure, path)


def _shown(result: dict, kind: str) -> str:
    text, ends = f'{result["slopes"][kind]:.3f}', result['slope_intervals'][kind]
    return f'{text} ({ends[0]:.3f} to {ends[1]:.3f})' if ends else text


if __name__ == '__main__':
    command(main)
