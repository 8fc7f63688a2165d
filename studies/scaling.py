"""How validation loss falls with data: an energy beside a feed-forward denoiser of equal size.

    python -m studies.scaling --subsets 84 168 337 674 1347 --seeds 3 --out docs/results/ebt
    python -m studies.scaling --config configs/ebt_denoise.py:cifar10 --data_dir DIR \
        --subsets 5000 50000 --out OUT

Each is trained for as many steps on so many of the images, then measured on the test images at the
trained noise after the number of evaluations that it was trained with. Fits
`log error = log A - b log n` and draws the seeds again for intervals.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from contrastive_jax.config.files import load_config
from contrastive_jax.data import sources
from contrastive_jax.ebt.quality import denoising_quality
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.training.loop import pretrain
from launch.grids.ebt_denoise import CELLS

__all__ = ['main', 'slope']

_KINDS = {'feed-forward': CELLS['feed-forward'], 'energy': CELLS['energy, S1']}
_RESAMPLES = 2000


def slope(sizes: np.ndarray, errors: np.ndarray) -> float:
    """b of `error = A n^-b` by least squares of the logarithms; `errors` is `[seeds, sizes]`."""
    x = np.log(sizes) - np.mean(np.log(sizes))
    y = np.log(errors).mean(axis=0)
    return float(-np.sum(x * (y - y.mean())) / np.sum(x * x))


def _train(kind: str, count: int, seed: int, options) -> tuple[float, float]:
    """Mean squared error on the test images, and FLOPs of an evaluation of an image."""
    config = load_config(options.config)
    config.data.data_dir = options.data_dir
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


def _interval(resampled: Sequence[float], seeds: int) -> list[float] | None:
    """95 % of the resamples; None of fewer than three seeds, whose resamples hardly differ."""
    return np.quantile(resampled, [0.025, 0.975]).tolist() if seeds > 2 else None


def main() -> None:
    """Parses the options, trains, fits, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/ebt_denoise.py', help='file, with :variant')
    parser.add_argument('--data_dir', help='as config.data.data_dir')
    parser.add_argument('--subsets', type=int, nargs='+', default=[84, 168, 337, 674, 1347])
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--out', required=True, help='folder for scaling.json and scaling.png')
    options = parser.parse_args()
    if len(set(options.subsets)) < 2:
        parser.error(f'--subsets={options.subsets}: a slope needs at least two sizes')
    config = load_config(options.config)
    config.data.data_dir = options.data_dir
    images = len(sources.load(config.data).train.images)
    if max(options.subsets) > images:
        parser.error(f'--subsets={options.subsets}: there are {images} training images')
    sizes = np.array(options.subsets, float)
    errors = {kind: np.zeros((options.seeds, len(sizes))) for kind in _KINDS}
    flops = {}
    todo = [(k, s, p) for s in range(options.seeds) for p in range(len(sizes)) for k in _KINDS]
    for kind, seed, index in tqdm(todo, 'scaling', disable=None):
        count = options.subsets[index]
        errors[kind][seed, index], flops[kind] = _train(kind, count, seed, options)
    rng = host_rng(Use.SCALING_BOOTSTRAP, 0)
    draws = rng.integers(options.seeds, size=(_RESAMPLES, options.seeds))
    slopes = {kind: slope(sizes, values) for kind, values in errors.items()}
    again = {kind: [slope(sizes, e[d]) for d in draws] for kind, e in errors.items()}
    ratios = np.array(again['energy']) / np.array(again['feed-forward'])
    result = {
        'subsets': options.subsets,
        'steps': options.steps,
        'errors': {kind: values.tolist() for kind, values in errors.items()},
        'flops': flops,
        'slopes': slopes,
        'slope_intervals': {kind: _interval(s, options.seeds) for kind, s in again.items()},
        'energy_over_feed_forward': slopes['energy'] / slopes['feed-forward'],
        'ratio_interval': _interval(ratios, options.seeds),
    }
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'scaling.json').write_text(json.dumps(result, indent=2) + '\n')
    print(json.dumps(result, indent=2))
    _draw(result, out / 'scaling.png')


def _draw(result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout='constrained', sharey=True)
    sizes = np.array(result['subsets'], float)
    for kind, values in result['errors'].items():
        errors = np.array(values)
        # Training asks for the gradient of an evaluation: some three times its cost.
        cost = 3 * result['flops'][kind] / 1e6
        for axis, at in zip(axes, (sizes, sizes * cost), strict=True):
            low, high = errors.mean(0) - errors.min(0), errors.max(0) - errors.mean(0)
            name = f'{kind}, slope {result["slopes"][kind]:.3f}'
            axis.errorbar(at, errors.mean(0), (low, high), marker='o', capsize=3, label=name)
    for axis, name in zip(axes, ('training images', 'MFLOP of a pass over them'), strict=True):
        axis.set(xscale='log', yscale='log', xlabel=name)
    axes[0].set_ylabel('mean squared error, test')
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)


if __name__ == '__main__':
    main()
