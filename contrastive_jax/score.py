"""Scores every training image of a run: how difficult is it? Files, a summary and pictures.

python -m contrastive_jax.score --workdir=runs/digits
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from contrastive_jax import cli, graph
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.provenance import array_checksum
from contrastive_jax.runs import load_run
from contrastive_jax.training.logs import write_json

__all__ = ['Options', 'run']

_FILES = (
    'scores.npz',
    'scores.csv',
    'scores.json',
    'scores_histogram.png',
    'scores_gallery.png',
    'scores_classes.png',
)
_SHOWN = 16
_MOST_CLASSES = 20


class Options(NamedTuple):
    """What the flags say; None for the default.

    Attributes:
      out: folder to write to; the workdir.
      pos_high: start of the difficult band; `config.pairs.pos_high` of the run.
      pos_low: its end; `config.pairs.pos_low` of the run.
      latent_classes: of `sas`: 'k-means', which needs no labels, or 'labels'.
    """

    out: Path | None = None
    pos_high: float | None = None
    pos_low: float | None = None
    latent_classes: str = 'k-means'


def run(workdir: Path, options: Options) -> dict:
    """Scores the training images of a run, mixed as it mixed them, and returns the summary.

    Raises:
      UserError: a folder without a trained run, files of an earlier scoring, features that have no
        direction, bands out of order.
    """
    out = options.out or workdir
    _check_out(out)
    trained = load_run(workdir)
    images, labels = trained.construction.whole
    pairs, classes = trained.config.pairs, trained.dataset.classes
    band = {
        'pos_high': pairs.pos_high if options.pos_high is None else options.pos_high,
        'pos_low': pairs.pos_low if options.pos_low is None else options.pos_low,
    }
    features = extract_features(trained.encode, images)
    try:
        columns = _score(features, labels, band, options, trained.config.seed)
    except ValueError as error:
        raise UserError(f'--workdir={workdir}: {error}') from error
    summary = {
        'samples': len(images),
        'step': trained.step,
        **band,
        'checksum': array_checksum(images),
        **{name: _spread(columns[name]) for name in ('score', 'alpha', 'beta', 'gamma', 'sas')},
        'by_class': _by_class(columns['score'], labels, classes),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_scores(out / 'scores.npz', ScoreFile(columns, summary['checksum']))
    write_json(out / 'scores.json', summary)
    _draw(out, images, labels, classes, features, columns['score'], band)
    _print(summary, columns['score'], out)
    return summary


def _check_out(out: Path) -> None:
    found = [name for name in _FILES if (out / name).exists()]
    if found:
        raise UserError(
            f'--out={out}: holds {", ".join(found)} already; delete them, or give another --out'
        )


def _score(features, labels, band, options: Options, seed: int) -> dict[str, np.ndarray]:
    """Every score under its name, and the bands that the first one comes from."""
    difficulty = graph.sample_difficulty(features, **band)
    if options.latent_classes == 'labels':
        if labels is None:
            raise ValueError('--latent_classes=labels: these images have none; choose k-means')
        latent = labels
    else:
        # The guide of the paper, read backwards: pos_high is one over the number of classes.
        count = min(round(1 / max(band['pos_high'], 1 / len(features))), len(features))
        latent = graph.scores.latent_classes(features, count, seed)
    columns = {name: np.asarray(values) for name, values in difficulty._asdict().items()}
    columns |= {'latent_class': latent, 'sas': graph.scores.sas(features, latent)}
    if labels is not None:
        columns['label'] = labels
        if len(np.unique(labels)) > 1:
            columns['supervised_margin'] = graph.scores.supervised_margin(features, labels)
    return columns


def _spread(values: np.ndarray) -> dict[str, float]:
    names = ('least', 'p10', 'median', 'p90', 'greatest')
    found = np.quantile(values, [0, 0.1, 0.5, 0.9, 1])
    return {'mean': float(values.mean()), **dict(zip(names, map(float, found), strict=True))}


def _by_class(score, labels, classes) -> dict[str, float] | None:
    if labels is None:
        return None
    means = {name: score[labels == index] for index, name in enumerate(classes)}
    return {name: float(values.mean()) for name, values in means.items() if len(values)}


def _draw(out: Path, images, labels, classes, features, score, band) -> None:
    # Imported here, for the other commands do without it.
    from contrastive_jax.graph import figures

    names = None if labels is None else [classes[label] for label in labels]
    known = None if labels is None else labels
    figures.histogram(score, known, classes).savefig(out / 'scores_histogram.png', dpi=100)
    order = np.argsort(-score, kind='stable')
    hardest, easiest = order[:_SHOWN], order[::-1][:_SHOWN]
    shown = np.unique(np.concatenate([hardest, easiest]))
    found = graph.nearest_difficult(features, shown, **band)
    figures.gallery(
        images,
        score,
        (('hardest, each → its nearest in the difficult band', hardest), ('easiest', easiest)),
        dict(zip(shown.tolist(), found.tolist(), strict=True)),
        names,
    ).savefig(out / 'scores_gallery.png', dpi=100)
    if labels is not None:
        # Of many classes the hardest: a picture of a thousand lines is not looked at.
        means = _by_class(score, labels, classes)
        chosen = [c for c, name in enumerate(classes) if name in _highest(means, _MOST_CLASSES)]
        rows = np.flatnonzero(np.isin(labels, chosen))
        figures.class_gallery(
            images[rows],
            score[rows],
            np.searchsorted(chosen, labels[rows]),
            [classes[c] for c in chosen],
        ).savefig(out / 'scores_classes.png', dpi=100)


def _highest(means: dict[str, float], count: int) -> list[str]:
    return sorted(means, key=lambda name: -means[name])[:count]


def _print(summary: dict, score: np.ndarray, out: Path) -> None:
    print(
        f'{summary["samples"]} training images, encoder of step {summary["step"]}, difficult band '
        f'{summary["pos_high"]} to {summary["pos_low"]}'
    )
    columns = ('mean', 'least', 'p10', 'median', 'p90', 'greatest')
    print(f'{"":8}' + ''.join(f'{name:>9}' for name in columns))
    for name in ('score', 'alpha', 'beta', 'gamma', 'sas'):
        print(f'{name:8}' + ''.join(f'{summary[name][column]:9.3f}' for column in columns))
    if summary['by_class']:
        means = summary['by_class']
        words = ', '.join(f'{name} {means[name]:.3f}' for name in _highest(means, 10))
        print(f'mean score by class, hardest first: {words}')
    print(f'hardest: {" ".join(map(str, np.argsort(-score, kind="stable")[:10]))}')
    print(f'written to {out}: {", ".join(name for name in _FILES if (out / name).exists())}')


def main(values: flags.FlagValues) -> None:
    """Runs with what the command line says."""
    run(
        Path(values.workdir),
        Options(
            values.out and Path(values.out),
            values.pos_high,
            values.pos_low,
            values.latent_classes,
        ),
    )


if __name__ == '__main__':
    flags.DEFINE_string('workdir', None, 'Trained run.')
    flags.DEFINE_string('out', None, 'Folder to write to; the workdir by default.')
    flags.DEFINE_float('pos_high', None, 'Start of the difficult band; as the run has it.')
    flags.DEFINE_float('pos_low', None, 'End of the difficult band; as the run has it.')
    flags.DEFINE_enum('latent_classes', 'k-means', ['k-means', 'labels'], 'Of the score sas.')
    flags.mark_flag_as_required('workdir')
    cli.run(lambda: main(flags.FLAGS))
