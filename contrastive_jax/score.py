"""Scores every image that a run trained on: how difficult is it? Files, a summary and pictures.

python -m contrastive_jax.score --workdir=runs/digits [--all]
python -m contrastive_jax.score --features=features.npy --labels=labels.npy --out=scores
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from contrastive_jax import graph
from contrastive_jax.data.feature_files import read_features
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.data.stored import checksum as image_checksum
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runtime import cli, progress
from contrastive_jax.runtime.files import write_json
from contrastive_jax.runtime.outputs import check_out

__all__ = ['Options', 'Samples', 'from_files', 'from_run', 'run']

_FILES = (
    'scores.npz',
    'scores.csv',
    'scores.json',
    'scores_histogram.png',
    'scores_gallery.png',
    'scores_classes.png',
)
_SUMMED = ('score', 'alpha', 'beta', 'gamma', 'isolation', 'sas')
_SHOWN, _PRINTED = 16, 10
_MOST_CLASSES = 20


class Samples(NamedTuple):
    """What is scored: m of the n images of a training split, or m rows of features.

    Attributes:
      features: `[m, k]`.
      labels: `[m]` indices into `classes`, or None.
      classes: names, of as many classes as there are labels.
      images: `[m, h, w, c]` uint8 to draw, or None.
      source: what they are and where the features come from, in words.
      seed: of k-means.
      index: `[m]` place of each image in the split; None for all of them in order.
      files: `[m]` names of the image files, or None.
      trained: `[m]` whether the run trained on each; None if it trained on all of them.
      checksum: of all n images; None to take it of `images`.
    """

    features: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    images: np.ndarray | StoredImages | None
    source: str
    seed: int = 0
    index: np.ndarray | None = None
    files: tuple[str, ...] | None = None
    trained: np.ndarray | None = None
    checksum: str | None = None

    def names(self, rows: np.ndarray) -> list[str]:
        """What to call some of them in print: the file or, where there is none, the index."""
        if self.files is not None:
            return [_printable(self.files[row]) for row in rows]
        return [str(row if self.index is None else self.index[row]) for row in rows]


class Options(NamedTuple):
    """How it is scored.

    Attributes:
      pos_high: where the difficult band begins, as a percentile from the top: 0.1 is the most
        similar tenth.
      pos_low: where it ends, from the top too.
      latent_classes: of `sas`: 'k-means', which needs no labels, or 'labels'.
    """

    pos_high: float
    pos_low: float
    latent_classes: str = 'k-means'


def from_run(workdir: Path, *, everything: bool = False) -> tuple[Samples, Options]:
    """The images that a run trained on, mixed as it mixed them, and its difficult band.

    Args:
      workdir: of the run.
      everything: also take the images of the training split that it left out.

    Raises:
      UserError: a folder without a trained run.
    """
    run = load_run(workdir)
    built = run.construction
    n, m = len(built.whole.images), len(built.kept)
    index = np.arange(n) if everything else built.kept
    images, labels, files = built.whole if everything else built.split
    samples = Samples(
        extract_features(run.encode, images),
        labels,
        run.dataset.classes,
        images,
        f'training images{_left_out(n, m, everything)}, encoder of step {run.step}',
        run.config.seed,
        index,
        files,
        np.isin(index, built.kept) if everything else None,
        image_checksum(built.whole.images),
    )
    return samples, Options(run.config.pairs.pos_high, run.config.pairs.pos_low)


def _left_out(n: int, m: int, everything: bool) -> str:
    if n == m:
        return ''
    if everything:
        return f' ({m} of them trained on)'
    return f' (the run left out {n - m} more; --all scores them too)'


def from_files(features: str, labels: str | None) -> tuple[Samples, Options]:
    """Features of an encoder from elsewhere; by default the band of a data set of ten classes.

    Args:
      features: npy file, `[n, k]`.
      labels: npy file, `[n]` integers, or None.

    Raises:
      UserError: files that cannot be read or do not fit together.
    """
    found = read_features(features, labels)
    samples = Samples(*found, images=None, source=f'rows of {features}')
    return samples, Options(0.1, 0.5)


def run(samples: Samples, options: Options, out: Path, *, overwrite: bool = False) -> dict:
    """Scores the samples, writes and draws everything, and returns the summary.

    Raises:
      UserError: a folder that cannot be written to or holds an earlier scoring, features without a
        direction, bands out of order.
    """
    check_out(out, names=_FILES, overwrite=overwrite)
    band = {'pos_high': options.pos_high, 'pos_low': options.pos_low}
    progress.say(f'scores: {len(samples.features)} {samples.source}')
    try:
        columns = _score(samples, band, options.latent_classes)
        if samples.trained is not None and not samples.trained.all():
            columns = _with_own_scores(columns, samples, band, options.latent_classes)
    except ValueError as error:
        raise UserError(f'{samples.source}: {error}') from error
    # Scores belong to images; of an encoder from elsewhere only the features are known.
    scored = samples.features if samples.images is None else samples.images
    summary = {
        'samples': len(scored),
        **({} if samples.trained is None else {'trained': int(samples.trained.sum())}),
        'source': samples.source,
        **band,
        'checksum': samples.checksum or image_checksum(scored),
        **{name: _spread(columns[name]) for name in _SUMMED},
        'by_class': _by_class(columns['score'], samples.labels, samples.classes),
    }
    if samples.trained is not None:
        columns = {'trained': samples.trained, **columns}
    out.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        # A picture that is not drawn this time would speak of other scores.
        (out / name).unlink(missing_ok=True)
    checksum = None if samples.images is None else summary['checksum']
    write_scores(out / 'scores.npz', ScoreFile(columns, checksum, samples.index, samples.files))
    write_json(out / 'scores.json', summary)
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings('ignore', message='Glyph')
        _draw(out, samples, columns['score'], band)
    _print(summary, samples, columns['score'], out)
    return summary


def _score(samples: Samples, band: dict, latent_classes: str) -> dict[str, np.ndarray]:
    """Every score under its name, and the bands that the first one comes from."""
    features, labels = samples.features, samples.labels
    difficulty = graph.sample_difficulty(features, **band)
    if latent_classes == 'labels':
        if labels is None:
            raise ValueError('--latent_classes=labels: there are no labels; choose k-means')
        latent = labels
    else:
        # The guide of the paper, read backwards: pos_high is one over the number of classes.
        count = min(round(1 / max(band['pos_high'], 1 / len(features))), len(features))
        latent = graph.scores.latent_classes(features, count, samples.seed)
    columns = {name: np.asarray(values) for name, values in difficulty._asdict().items()}
    columns['isolation'] = np.asarray(graph.isolation(features))
    columns['boundary'] = graph.scores.boundary(columns['score'], columns['isolation'])
    columns |= {'latent_class': latent, 'sas': graph.scores.sas(features, latent)}
    if labels is not None:
        columns['label'] = labels
        if len(np.unique(labels)) > 1:
            columns['supervised_margin'] = graph.scores.supervised_margin(features, labels)
    return columns


def _with_own_scores(
    columns: dict[str, np.ndarray], samples: Samples, band: dict, latent_classes: str
) -> dict[str, np.ndarray]:
    """Gives the images trained on the scores that they have among themselves.

    So no score of theirs depends on images that the run left out, which are scored among all.
    """
    rows = np.flatnonzero(samples.trained)
    labels = None if samples.labels is None else samples.labels[rows]
    own = _score(
        samples._replace(features=samples.features[rows], labels=labels), band, latent_classes
    )
    merged = {name: columns[name].copy() for name in own}
    if latent_classes != 'labels':
        # Two runs of k-means: equal numbers do not mean one class.
        merged['latent_class'] += own['latent_class'].max() + 1
    for name, values in own.items():
        merged[name][rows] = values
    return merged


def _spread(values: np.ndarray) -> dict[str, float]:
    names = ('least', 'p10', 'median', 'p90', 'greatest')
    found = np.quantile(values, [0, 0.1, 0.5, 0.9, 1])
    return {'mean': float(values.mean()), **dict(zip(names, map(float, found), strict=True))}


def _by_class(score, labels, classes) -> dict[str, float] | None:
    if labels is None:
        return None
    means = {name: score[labels == index] for index, name in enumerate(classes)}
    return {name: float(values.mean()) for name, values in means.items() if len(values)}


def _draw(out: Path, samples: Samples, score: np.ndarray, band: dict) -> None:
    # Imported here, for the other commands do without it.
    from contrastive_jax.reporting import galleries as figures

    images, labels = samples.images, samples.labels
    classes = tuple(map(_printable, samples.classes))
    figures.histogram(score, labels, classes).savefig(out / 'scores_histogram.png', dpi=100)
    if images is None:
        return
    everyone = np.arange(len(score))
    hardest, easiest = _ends(score, everyone, _SHOWN)
    shown = np.unique(np.concatenate([hardest, easiest]))
    others = graph.nearest_difficult(samples.features, shown, **band)
    # Only what is drawn is read: the images may be on disk.
    seen = np.unique(np.concatenate([shown, others]))
    places = {
        name: np.searchsorted(seen, rows)
        for name, rows in zip(
            ('hardest', 'easiest', 'shown', 'others'),
            (hardest, easiest, shown, others),
            strict=True,
        )
    }
    figures.gallery(
        images[seen],
        score[seen],
        (
            ('hardest, each → its nearest in the difficult band', places['hardest']),
            ('easiest', places['easiest']),
        ),
        dict(zip(places['shown'].tolist(), places['others'].tolist(), strict=True)),
        None if labels is None else [classes[label] for label in labels[seen]],
        samples.names(seen),
    ).savefig(out / 'scores_gallery.png', dpi=100)
    if labels is not None:
        # Of many classes the hardest: a picture of a thousand lines is not looked at.
        means = _by_class(score, labels, classes)
        chosen = [c for c, name in enumerate(classes) if name in _highest(means, _MOST_CLASSES)]
        ends = [_ends(score, np.flatnonzero(labels == c), figures.PER_CLASS) for c in chosen]
        rows = np.unique(np.concatenate([end for both in ends for end in both]))
        figures.class_gallery(
            images[rows],
            score[rows],
            np.searchsorted(chosen, labels[rows]),
            [classes[c] for c in chosen],
            samples.names(rows),
        ).savefig(out / 'scores_classes.png', dpi=100)


def _ends(score: np.ndarray, members: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The hardest and the easiest of some samples, the extreme ones first."""
    order = members[np.argsort(-score[members], kind='stable')]
    return order[:count], order[::-1][:count]


def _highest(means: dict[str, float], count: int) -> list[str]:
    return sorted(means, key=lambda name: -means[name])[:count]


def _printable(name: str) -> str:
    """The name with escapes for line breaks and for bytes that are no text."""
    return ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode('ascii') for c in name
    )


def _print(summary: dict, samples: Samples, score: np.ndarray, out: Path) -> None:
    print(
        f'{summary["samples"]} {summary["source"]}, difficult band '
        f'{summary["pos_high"]} to {summary["pos_low"]}'
    )
    columns = ('mean', 'least', 'p10', 'median', 'p90', 'greatest')
    print(f'{"":9}' + ''.join(f'{name:>9}' for name in columns))
    for name in _SUMMED:
        print(f'{name:9}' + ''.join(f'{summary[name][column]:9.3f}' for column in columns))
    if summary['by_class']:
        means = summary['by_class']
        words = ', '.join(f'{_printable(c)} {means[c]:.3f}' for c in _highest(means, 10))
        print(f'mean score by class, hardest first: {words}')
    hardest, _ = _ends(score, np.arange(len(score)), _PRINTED)
    separator = ' ' if samples.files is None else '\n  '
    print(f'hardest:{separator}{separator.join(samples.names(hardest))}')
    print(f'written to {out}: {", ".join(name for name in _FILES if (out / name).exists())}')


def main(values: flags.FlagValues) -> None:
    """Runs with what the command line says."""
    if (values.workdir is None) == (values.features is None):
        raise UserError('--workdir, --features: give one of them')
    if values.features is not None and values.out is None:
        raise UserError('--out: missing; with --features there is no workdir to write to')
    if values.features is not None and values['all'].value:
        raise UserError('--all: goes with --workdir; with --features all rows are scored')
    out = Path(values.out or values.workdir)
    check_out(out, names=_FILES, overwrite=values.overwrite)
    if values.features is None:
        samples, options = from_run(Path(values.workdir), everything=values['all'].value)
    else:
        samples, options = from_files(values.features, values.labels)
    given = {name: values[name].value for name in ('pos_high', 'pos_low', 'latent_classes')}
    changed = {name: value for name, value in given.items() if value is not None}
    run(samples, options._replace(**changed), out, overwrite=values.overwrite)


if __name__ == '__main__':
    flags.DEFINE_string('workdir', None, 'Trained run.')
    flags.DEFINE_bool(
        'all', False, 'Also score the images that the run left out; marks those trained on.'
    )
    flags.DEFINE_string('features', None, 'Or an npy file: features [n, k] of any encoder.')
    flags.DEFINE_string('labels', None, 'With --features: npy file of n integers.')
    flags.DEFINE_string('out', None, 'Folder to write to; the workdir by default.')
    flags.DEFINE_bool('overwrite', False, 'Replace the files of an earlier scoring.')
    flags.DEFINE_float(
        'pos_high',
        None,
        'Where the difficult band begins, as a percentile from the top: 0.1 is the most similar '
        'tenth. By default as the run has it, or 0.1.',
    )
    flags.DEFINE_float(
        'pos_low',
        None,
        'Where the difficult band ends, from the top too. By default as the run has it, or 0.5.',
    )
    flags.DEFINE_enum('latent_classes', None, ['k-means', 'labels'], 'Of the score sas.')
    cli.run(lambda: main(flags.FLAGS))
