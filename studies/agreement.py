"""Does a score of difficulty agree with what a supervised classifier finds difficult? Spearman.

    python -m studies.agreement --config configs/digits.py --seeds 0 1 2

Scores come from an encoder trained without labels. Supervised difficulty is the loss, and the
margin turned round, of a logistic regression that has not seen the sample (five folds): on raw
pixels, and on the features of an encoder trained with the supervised contrastive loss.
"""

import argparse

import numpy as np
from scipy.stats import spearmanr

from contrastive_jax import graph
from contrastive_jax.data import sources
from studies.detector import represent, train
from studies.inputs import add_config, config_from
from studies.measures import held_out, spread
from studies.outputs import command


def supervised_difficulty(features, labels) -> dict[str, np.ndarray]:
    """Loss and negative margin of each sample under a classifier fitted without its fold."""
    chance = held_out(features, labels, 'predict_log_proba')
    rows = np.arange(len(labels))
    own = chance[rows, labels]
    others = chance.copy()
    others[rows, labels] = -np.inf
    return {'loss': -own, 'margin': others.max(axis=1) - own}


def scores(features, labels, band, seed) -> dict[str, np.ndarray]:
    """The scores that are compared, by name."""
    latent = graph.scores.latent_classes(features, len(np.unique(labels)), seed)
    difficulty = np.asarray(graph.sample_difficulty(features, **band).score)
    isolation = np.asarray(graph.isolation(features))
    return {
        'random': graph.scores.random(len(features), seed),
        'difficulty': difficulty,
        'isolation': isolation,
        'boundary': graph.scores.boundary(difficulty, isolation),
        'sas, k-means': graph.scores.sas_score(features, latent),
        'supervised margin (labels)': graph.scores.supervised_margin(features, labels),
    }


def main() -> None:
    """Parses the options, trains, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--pos_high', type=float, default=0.1, help='0.1: the most similar tenth')
    parser.add_argument('--pos_low', type=float, default=0.2)
    options = parser.parse_args()
    band = {'pos_high': options.pos_high, 'pos_low': options.pos_low}
    correlations: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        config = config_from(options.config, options.data_dir)
        config.seed = seed
        split = sources.load(config.data).train
        pixels = split.images.reshape(len(split.images), -1) / 255.0
        targets = {'pixels': supervised_difficulty(pixels, split.labels)}
        encoders = {}
        for name in ('supervised', 'nt_xent'):
            config.loss.name = name
            config.arm = 'simclr'
            graphdef, states = train(config, split)
            encoders[name], _ = represent(graphdef, states[-1], split.images)
        targets['supervised'] = supervised_difficulty(encoders['supervised'], split.labels)
        for name, score in scores(encoders['nt_xent'], split.labels, band, seed).items():
            for source, difficulties in targets.items():
                for kind, difficulty in difficulties.items():
                    value = spearmanr(score, difficulty).statistic
                    row = correlations.setdefault(name, {})
                    row.setdefault(f'{source} {kind}', []).append(value)
    print(f'{options.config}, band {band}, seeds {options.seeds}: Spearman, mean ± deviation')
    print(f'{"":28}' + ''.join(f'{name:>22}' for name in next(iter(correlations.values()))))
    for name, values in correlations.items():
        print(f'{name:28}' + ''.join(f'{spread(series):>22}' for series in values.values()))


if __name__ == '__main__':
    command(main)
