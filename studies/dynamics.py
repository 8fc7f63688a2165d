"""Does difficulty over time find images that were made difficult? ROC-AUC on omega-mixed data.

    python -m studies.dynamics --config configs/digits.py --every 5 --runs runs/dynamics

For each seed and both kinds of mixing (plain, and with the contrast of the source) a run trains on
the mixed images, and its monitor scores all of them, or a stratified part, at every look. Then each
summary of these scores ranks the images. 0.5 is chance; high = mixed. Finished runs are not
repeated.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from sklearn.metrics import roc_auc_score

from benchmarks.measure import spread
from contrastive_jax import main as pretraining
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.graph.dynamics import sample_dynamics
from contrastive_jax.runs.dynamics import Dynamics, read_dynamics
from studies.inputs import config_from
from studies.outputs import as_path, check_new, command

KINDS = ('plain', 'matched')


def rankings(dynamics: Dynamics) -> dict[str, np.ndarray]:
    """What ranks the images, by name; high = difficult."""
    score = dynamics.score
    over_time = sample_dynamics(score, dynamics.epochs)
    late = score[len(score) // 2 :]
    return {
        'score of the last look': score[-1],
        'score of the first look': score[0],
        'mean of the score': over_time.mean,
        'mean of the second half': late.mean(axis=0),
        'spread of the score': over_time.spread,
        'spread, low first': -over_time.spread,
        'last entry into the hardest fifth': over_time.last_entry,
        'learnability, low first': -over_time.learnability,
    }


def values_of(config: ConfigDict, workdir: Path, shared: Path) -> dict[str, float]:
    """Trains a run, or takes the finished one, and returns the area of each ranking."""
    pretraining.run(config, workdir, shared)
    built = construct(config, sources.load(config.data).pretrain)
    dynamics = read_dynamics(workdir)
    mixed = np.isin(dynamics.indices, built.mixed)
    return {
        name: float(roc_auc_score(mixed, ranking)) for name, ranking in rankings(dynamics).items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, trains, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    parser.add_argument('--data_dir', help='as config.data.data_dir')
    parser.add_argument('--epochs', type=int, default=None, help='instead of those of the config')
    parser.add_argument('--every', type=int, default=5, help='epochs between two looks')
    parser.add_argument(
        '--images', type=int, default=None, help='number of images to look at; all without it'
    )
    parser.add_argument('--ratio', type=float, default=0.1)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--runs', type=as_path, required=True, help='folder of the runs')
    parser.add_argument('--out', type=as_path, default=None, help='JSON of every value')
    options = parser.parse_args(arguments)
    if options.out:
        check_new(options.out)
    values: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        for kind in KINDS:
            config = config_from(options.config, options.data_dir, options.epochs)
            config.seed = seed
            config.mixed.update(ratio=options.ratio, match_contrast=kind == 'matched')
            images = options.images or len(sources.load(config.data).pretrain.images)
            config.monitor.update(every_epochs=options.every, images=images)
            workdir, shared = options.runs / kind / f'seed{seed}', options.runs / 'shared'
            for name, value in values_of(config, workdir, shared).items():
                values.setdefault(name, {}).setdefault(kind, []).append(value)
            if options.out:
                options.out.write_text(json.dumps(values, indent=1))
    print(
        f'{options.config}, ratio {options.ratio}, seeds {options.seeds}: ROC-AUC, mean ± deviation'
    )
    for name, kinds in values.items():
        print(f'{name:36} ' + '  '.join(spread(kinds[kind]) for kind in KINDS))


if __name__ == '__main__':
    command(main)
