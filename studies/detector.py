"""Which score finds images that were made difficult? ROC-AUC on omega-mixed data, over seeds.

    python -m studies.detector --config configs/digits.py --seeds 0 1 2 --out detector.json

For each seed and both kinds of mixing (plain, and with the contrast of the source) an encoder is
trained on the mixed images, then every score ranks them. 0.5 is chance; high = mixed.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from contrastive_jax import graph
from contrastive_jax.data import sources
from contrastive_jax.data.batches import make_batch, step_indices
from contrastive_jax.data.constructions import construct
from contrastive_jax.data.sampling import representative
from contrastive_jax.evaluation import extract_features
from contrastive_jax.models import pixel_moments
from contrastive_jax.numerics import unit_rows
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.training import devices
from contrastive_jax.training.augmentation import two_views
from contrastive_jax.training.optimizer import count_steps
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.steps import take_steps
from studies import mixing
from studies.outputs import command

_VIEWS = 8
_BANDS = (
    (0.01, 0.05),
    (0.01, 0.1),
    (0.02, 0.1),
    (0.05, 0.1),
    (0.05, 0.2),
    (0.1, 0.2),
    (0.1, 0.3),
    (0.1, 0.5),
    (0.2, 0.5),
)


def train(config, split):
    """Trains, and returns the model's description with its states after each quarter."""
    n, count = len(split.images), jax.device_count()
    steps_per_epoch = n // config.batch_size
    total = count_steps(config, steps_per_epoch)
    setup = set_up(config, pixel_moments(split.images), steps_per_epoch, devices.AXIS)
    batches = (
        make_batch(split, step_indices(config.seed, step, n, config.batch_size), count)
        for step in range(total)
    )
    states = []

    def after(step, state, metrics, bar):
        if 4 * step // total > 4 * (step - 1) // total:
            states.append(jax.device_get((state.params, state.stats)))

    take_steps(
        devices.replicate(setup.initial),
        devices.map_over_devices(setup.step),
        batches,
        total=total,
        after=after,
        name=f'seed {config.seed}',
    )
    return setup.graphdef, states


def represent(graphdef, weights, images, *, augment=None, views=1):
    """Features and embeddings of all images; with an augmentation, means over views of either."""
    dim = weights[0]['projector']['out']['bias'].shape[0]

    def both(model, pictures):
        features, embeddings = model(pictures, train=False)
        return jnp.concatenate([features, embeddings], axis=1)

    @jax.jit
    def encode(weights, images, key):
        model = nnx.merge(graphdef, *weights, copy=True)
        if augment is None:
            return both(model, images.astype(jnp.float32) / 255)

        def view(key):
            rows = both(model, two_views(key, images, augment))
            parts = (unit_rows(rows[:, :-dim]), unit_rows(rows[:, -dim:]))
            return jnp.concatenate(parts, axis=1).reshape(2, len(images), -1)

        return jnp.mean(jax.lax.map(view, jax.random.split(key, views // 2)), axis=(0, 1))

    keys = map(partial(jax.random.fold_in, device_key(KeyUse.DETECTOR_VIEWS, 0)), itertools.count())
    rows = extract_features(
        lambda batch: encode(weights, batch, next(keys)), images, batch_size=256
    )
    return rows[:, :-dim], rows[:, -dim:]


def pixel_scores(images) -> dict[str, np.ndarray]:
    """What needs no encoder: flat images are the mixed ones."""
    pixels = images.astype(np.float32)
    steps = [np.abs(np.diff(pixels, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2)]
    return {
        'pixel deviation (low)': -pixels.std(axis=(1, 2, 3)),
        'total variation (low)': -sum(steps),
    }


def all_scores(graphdef, states, images, labels, augment, seed) -> dict[str, np.ndarray]:
    """Every score that is compared, by name."""
    difficulty = graph.sample_difficulty
    features, embeddings = represent(graphdef, states[-1], images)
    seen, seen_embeddings = represent(graphdef, states[-1], images, augment=augment, views=_VIEWS)
    scores = {'random': graph.scores.random(len(images), seed)} | pixel_scores(images)
    for high, low in _BANDS:
        band = {'pos_high': high, 'pos_low': low}
        scores[f'difficulty {high} {low}'] = difficulty(features, **band).score
    band = {'pos_high': 0.1, 'pos_low': 0.2}
    scores['difficulty, not centred'] = difficulty(features, center=False, **band).score
    scores['difficulty, embeddings'] = difficulty(embeddings, **band).score
    scores['difficulty, 8 views'] = difficulty(seen, **band).score
    scores['difficulty, embeddings of 8 views'] = difficulty(seen_embeddings, **band).score
    over_time = [difficulty(represent(graphdef, s, images)[0], **band).score for s in states]
    scores['difficulty, mean of 4 quarters'] = sum(rankdata(score) for score in over_time)
    for share in (0.01, 0.05):
        for name, rows in (('features', features), ('8 views', seen), ('embeddings', embeddings)):
            alpha = difficulty(rows, pos_high=share, pos_low=share).alpha
            scores[f'1 - alpha {share}, {name}'] = -alpha
            scores[f'isolation {share}, {name}'] = graph.isolation(rows, near=share)
    for high, low in _BANDS:
        score = np.asarray(scores[f'difficulty {high} {low}'])
        isolation = np.asarray(scores['isolation 0.01, features'])
        scores[f'boundary {high} {low}'] = graph.scores.boundary(score, isolation)
    scores['disagreement of 8 views'] = -np.linalg.norm(seen, axis=1)
    scores['disagreement of 8 views, embeddings'] = -np.linalg.norm(seen_embeddings, axis=1)
    latent = graph.scores.latent_classes(features, len(np.unique(labels)), seed)
    scores['margin to k-means classes'] = graph.scores.supervised_margin(features, latent)
    scores['sas, k-means'] = graph.scores.sas_score(features, latent)
    scores['sas, labels'] = graph.scores.sas_score(features, labels)
    scores['supervised margin (labels)'] = graph.scores.supervised_margin(features, labels)
    return scores


def areas(config: ConfigDict, samples: int | None) -> dict[str, float]:
    """Trains an encoder, and returns the area of each score for a random sample, or for all."""
    built = construct(config, sources.load(config.data).train)
    graphdef, states = train(config, built.split)
    images, labels, _ = built.split
    rows = representative(len(images), samples or len(images), labels)
    mixed = np.isin(built.kept[rows], built.mixed)
    scores = all_scores(graphdef, states, images[rows], labels[rows], config.augment, config.seed)
    return {name: float(roc_auc_score(mixed, np.asarray(score))) for name, score in scores.items()}


def main() -> None:
    """Parses the options, trains, and prints a table."""
    parser = mixing.options(__doc__)
    parser.add_argument(
        '--samples', type=int, default=None, help='score a random sample of so many'
    )
    options = parser.parse_args()
    mixing.report(options, lambda config, _: areas(config, options.samples))


if __name__ == '__main__':
    command(main)
