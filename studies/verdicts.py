"""How often the verdicts of the atlas are right, where the truth is known because it was injected.

    python -m contrastive_jax.main --config=configs/digits.py --workdir=runs/digits
    python -m studies.verdicts --workdir runs/digits --seeds 0 1 2
    python -m studies.verdicts --workdir runs/cifar10 --outliers digits

Of the training images of a run, 5 % each are made copies of another image with noise (both count as
near-duplicates), get another label, or become outliers (noise, or handwritten digits); about 2.5 %
are mixed with an image of another class at matched contrast. The frozen encoder of the run encodes
them. Beside the verdicts stand cleanlab's label issues, and plain thresholds that are given the
true number of each kind.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_digits

from contrastive_jax import graph, load_encoder
from contrastive_jax.data.mixed import mix
from contrastive_jax.graph.neighbours import find_neighbours
from contrastive_jax.graph.verdicts import VERDICTS, judge
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.runs.loading import load_run
from studies.measures import held_out, spread
from studies.outputs import as_path, command

_SHARE, _NOISE = 0.05, 8.0
_EASY, _BETWEEN, _OUTLIER, _LABEL, _DUPLICATE = range(len(VERDICTS))


def outliers_of(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Images `[n, h, w, c]` uint8 of no class of the data set: uniform noise, or digits."""
    if kind == 'noise':
        return rng.integers(0, 256, shape, dtype=np.uint8)
    digits = load_digits().images
    if shape[0] > len(digits):
        raise SystemExit(f'--outliers=digits: {shape[0]} are needed, and there are {len(digits)}')
    # Each at most once: two of the same would be near-duplicates.
    drawn = rng.permutation(digits)[: shape[0]] * np.float32(255 / 16)
    large = jax.image.resize(drawn[..., None], (*shape[:3], 1), 'linear')
    return np.broadcast_to(np.rint(large), shape).astype(np.uint8)


def inject(images, labels, num_classes: int, seed: int, outliers: str = 'noise'):
    """Images and labels with injected faults, and the true verdict of each."""
    n = len(images)
    rng = host_rng(Use.VERDICT_STUDY, seed)
    count = round(_SHARE * n)
    parts = np.split(rng.permutation(n)[: 5 * count], 5)
    copies, sources, relabelled, strange, mixed = parts
    changed, named, truth = images.copy(), labels.copy(), np.full(n, _EASY)
    noisy = images[sources] + rng.normal(0, _NOISE, images[sources].shape)
    changed[copies] = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    named[copies] = labels[sources]
    named[relabelled] = (labels[relabelled] + rng.integers(1, num_classes, count)) % num_classes
    changed[strange] = outliers_of(outliers, images[strange].shape, rng)
    partner = mix(images, labels, ratio=1.0 / 2, seed=seed, match_contrast=True)
    blends = dict(zip(partner.indices.tolist(), range(len(partner.indices)), strict=True))
    # Of the images to mix, those that `mix` has drawn; the others stay as they are.
    mixed = np.array([row for row in mixed if row in blends], int)
    changed[mixed] = partner.images[mixed]
    for rows, verdict in (
        (copies, _DUPLICATE),
        (sources, _DUPLICATE),
        (relabelled, _LABEL),
        (strange, _OUTLIER),
        (mixed, _BETWEEN),
    ):
        truth[rows] = verdict
    return changed, named, truth


def plain(features, labels, near, score, isolation, truth) -> dict[str, np.ndarray]:
    """Samples that plain thresholds and cleanlab name, each a mask `[n]`."""

    def top(values, verdict):
        mask = np.zeros(len(values), bool)
        mask[np.argsort(-values, kind='stable')[: np.sum(truth == verdict)]] = True
        return mask

    found = {
        'near-duplicate, nearest cosine': top(near.similarity[:, 0], _DUPLICATE),
        'outlier, isolation': top(isolation, _OUTLIER),
        'between classes, score': top(score, _BETWEEN),
        'label suspect, supervised margin': top(
            graph.scores.supervised_margin(features, labels), _LABEL
        ),
    }
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return found
    chance = held_out(features, labels, 'predict_proba')
    return found | {'label suspect, cleanlab': find_label_issues(labels, chance, n_jobs=1)}


def measure(workdir: Path, seed: int, most: int, band: dict[str, float], outliers: str):
    """Confusion matrix `[true, said]`, and precision and recall by method."""
    run = load_run(workdir)
    rows = host_rng(Use.VERDICT_STUDY, seed, 1).permutation(len(run.dataset.train.images))[:most]
    classes = len(run.dataset.classes)
    images, labels = run.dataset.train.images[rows], run.dataset.train.labels[rows]
    images, labels, truth = inject(images, labels, classes, seed, outliers)
    features = load_encoder(workdir)(images)
    score = np.asarray(graph.sample_difficulty(features, **band).score)
    isolation = np.asarray(graph.isolation(features))
    near = find_neighbours(features, **band, count=20)
    found = judge(score, isolation, near.similarity[:, 0], near.nearest, labels)
    said = found.verdict
    matrix = np.zeros((len(VERDICTS), len(VERDICTS)), int)
    np.add.at(matrix, (truth, said), 1)
    rates = {}
    named = {f'{VERDICTS[code]}, verdict': said == code for code in range(1, len(VERDICTS))}
    named['label suspect, margin above 0'] = found.label_margin > 0
    for name, mask in (named | plain(features, labels, near, score, isolation, truth)).items():
        true = truth == VERDICTS.index(name.partition(',')[0])
        hits = np.sum(mask & true)
        rates[name] = hits / max(mask.sum(), 1), hits / max(true.sum(), 1)
    return matrix, rates


def main() -> None:
    """Parses the options, measures and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workdir', type=as_path, required=True, help='a trained run')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--samples', type=int, default=10_000, help='most images')
    parser.add_argument('--outliers', choices=('noise', 'digits'), default='noise')
    parser.add_argument('--pos_high', type=float, default=0.1)
    parser.add_argument('--pos_low', type=float, default=0.5)
    options = parser.parse_args()
    band = {'pos_high': options.pos_high, 'pos_low': options.pos_low}
    runs = [
        measure(options.workdir, seed, options.samples, band, options.outliers)
        for seed in options.seeds
    ]
    print('| | precision | recall |\n|---|---|---|')
    for name in sorted(runs[0][1]):
        precision, recall = (spread([rates[name][at] for _, rates in runs]) for at in (0, 1))
        print(f'| {name} | {precision} | {recall} |')
    matrix = np.mean([matrix for matrix, _ in runs], axis=0)
    print(f'\n| true, said | {" | ".join(VERDICTS)} |\n|---{"|---" * len(VERDICTS)}|')
    for name, row in zip(VERDICTS, matrix, strict=True):
        print(f'| {name} | {" | ".join(f"{value:.0f}" for value in row)} |')


if __name__ == '__main__':
    command(main)
