"""Does difficulty over time find images that were made difficult? ROC-AUC on omega-mixed data.

    python -m studies.dynamics --config configs/digits.py --every 5 --runs runs/dynamics

For each seed and both kinds of mixing (plain, and with the contrast of the source) a run trains on
the mixed images, and its monitor scores all of them, or a stratified part, at every look. Then each
summary of these scores ranks the images. 0.5 is chance; high = mixed. Finished runs are not
repeated.
"""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from sklearn.metrics import roc_auc_score

from contrastive_jax import main as pretraining
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.graph.dynamics import sample_dynamics
from contrastive_jax.runs.dynamics import Dynamics, read_dynamics
from studies import mixing
from studies.outputs import as_path, command


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
    parser = mixing.options(__doc__)
    parser.add_argument('--every', type=int, default=5, help='epochs between two looks')
    parser.add_argument(
        '--images', type=int, default=None, help='number of images to look at; all without it'
    )
    parser.add_argument('--runs', type=as_path, required=True, help='folder of the runs')
    options = parser.parse_args(arguments)

    def areas(config, kind):
        images = options.images or len(sources.load(config.data).pretrain.images)
        config.monitor.update(every_epochs=options.every, images=images)
        workdir = options.runs / kind / f'seed{config.seed}'
        return values_of(config, workdir, options.runs / 'shared')

    mixing.report(options, areas)


if __name__ == '__main__':
    command(main)
