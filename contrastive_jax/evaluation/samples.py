"""Samples with features and labels, from a trained run or from files, and their scores.

Axes: n images of a training split, m of them scored, k features.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from contrastive_jax.data.feature_files import as_given, read_features
from contrastive_jax.data.feature_rows import array_rows, open_rows
from contrastive_jax.data.sampling import rows_of
from contrastive_jax.data.stored import StoredImages, subset
from contrastive_jax.data.stored import checksum as image_checksum
from contrastive_jax.data.survey import relative_spread, warn_if_collapsed
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles.request import POS_HIGH, POS_LOW, Request
from contrastive_jax.graph.columns import (
    bands_and_isolation,
    score_columns,
    score_trained_apart,
)
from contrastive_jax.graph.density import NEAR, isolation
from contrastive_jax.graph.dynamics import sample_dynamics
from contrastive_jax.graph.neighbours import find_neighbours
from contrastive_jax.graph.verdicts import NEIGHBOURS, judge, label_suspects
from contrastive_jax.numerics import percentile_rank
from contrastive_jax.runs.dynamics import read_dynamics
from contrastive_jax.runs.names import DYNAMICS
from contrastive_jax.runtime import progress

__all__ = [
    'Options',
    'Samples',
    'dynamics_columns',
    'from_files',
    'from_run',
    'score',
    'tiles_of',
    'verdicts_of',
    'with_outlier_isolation',
]


# Of more samples a scoring takes so long that one wants to see how far it is.
_MANY_SAMPLES = 20_000
# Above this share of samples whose neighbours are led by another class, something is said.
_MANY = 0.1
# Fewer neighbours than this say little of how isolated a sample is.
_FEWEST_NEAR = 5


class Samples(NamedTuple):
    """The samples to score: m of the n images of a training split, or m rows of features.

    Attributes:
      features: `[m, k]`.
      labels: `[m]` indices into `classes`, or None.
      classes: names of the classes.
      images: `[m, h, w, c]` uint8 images to draw, or None.
      source: words that say what the samples are and where the features come from.
      seed: seed of k-means.
      index: `[m]` index of each image in the split; None for all images in order.
      files: `[m]` names of the image files, or None.
      trained: `[m]` whether the run trained on each image; None if it trained on all of them.
      checksum: checksum of all n images; None to take it of `images`.
      features_checksum: checksum of a file of features; None of a run.
      step: number of steps that the encoder of a run had taken; None of files.
    """

    features: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    images: np.ndarray | StoredImages | None
    source: str
    seed: int = 0
    # The field hides `tuple.index`, which nobody calls on these.
    index: np.ndarray | None = None  # type: ignore[assignment]
    files: tuple[str, ...] | None = None
    trained: np.ndarray | None = None
    checksum: str | None = None
    features_checksum: str | None = None
    step: int | None = None

    def taken(self, rows: np.ndarray) -> 'Samples':
        """Some of the samples, in the order of `rows`."""
        return self._replace(
            features=np.asarray(self.features)[rows],
            labels=None if self.labels is None else self.labels[rows],
            images=None if self.images is None else subset(self.images, rows),
            files=None if self.files is None else tuple(self.files[row] for row in rows),
            index=rows if self.index is None else self.index[rows],
            trained=None if self.trained is None else self.trained[rows],
        )

    def trained_apart(self) -> np.ndarray | None:
        """Rows of the images trained on, which are judged among themselves; None if all are."""
        if self.trained is None or self.trained.all():
            return None
        return np.flatnonzero(self.trained)

    def image_checksum(self) -> str:
        """Checksum of the images, or of the features where there are no images."""
        # Scores belong to images; of an encoder from elsewhere only the features are known.
        scored = self.features if self.images is None else self.images
        return self.checksum or image_checksum(scored)


class Options(NamedTuple):
    """How samples are scored.

    Attributes:
      pos_high: where the difficult band begins, as a percentile from the top: 0.1 is the most
        similar tenth.
      pos_low: where it ends, from the top too.
      latent_classes: classes of the score `sas`: 'k-means', which needs no labels, or 'labels'.
    """

    pos_high: float = POS_HIGH
    pos_low: float = POS_LOW
    latent_classes: str = 'k-means'

    def band(self) -> dict[str, Any]:
        """The difficult band as keyword arguments."""
        return {'pos_high': self.pos_high, 'pos_low': self.pos_low}


def from_run(workdir: Path, *, everything: bool = False) -> tuple[Samples, Options]:
    """The images that a run trained on, mixed as in the run, and its difficult band.

    Args:
      workdir: folder of the run.
      everything: whether to add the images of the training split that the run left out.

    Returns:
      The samples, in the order of the split, and options with the band of the run and classes of
      k-means.

    Raises:
      UserError: a folder without a trained run.
    """
    # Imported here, because Flax and Orbax take a second, and features from elsewhere need neither.
    from contrastive_jax.evaluation.features import extract_features
    from contrastive_jax.runs.loading import load_run

    run = load_run(workdir)
    built = run.construction
    n, m = len(built.whole.images), len(built.kept)
    (images, labels, files), index = built.chosen(everything)
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
        step=run.step,
    )
    return samples, Options(run.config.pairs.pos_high, run.config.pairs.pos_low)


def _left_out(n: int, m: int, everything: bool) -> str:
    if n == m:
        return ''
    if everything:
        return f' ({m} of them trained on)'
    return f' (the run left out {n - m} more; --all scores them too)'


def from_files(features: str, labels: str | None) -> Samples:
    """Features of any encoder, without images.

    Args:
      features: file or folder of shards, `[n, k]`, of any kind that `open_rows` reads.
      labels: npy file, `[n]` integers, or None.

    Raises:
      UserError: files that cannot be read or do not fit together.
    """
    rows = open_rows(features)
    return Samples(
        *read_features(rows, labels),
        images=None,
        source=f'rows of {features}',
        features_checksum=rows.checksum(),
    )


def score(samples: Samples, options: Options, *, keep: Path | None = None) -> dict[str, np.ndarray]:
    """Every score of the samples, each column `[m]`; images trained on are scored on their own.

    Args:
      samples: the samples.
      options: how they are scored.
      keep: beginning of the names of folders for finished tiles of bands and isolation of many
        samples, which the same call goes on from, and any other replaces; None to keep none.

    Returns:
      Columns by name: those of `score_columns` and, for at least two samples, those of
      `verdicts_of`. `label` holds the numbers of the label file, where classes are numbers. With
      `samples.trained` there is a column `trained` too.

    Raises:
      UserError: features without a direction, bands out of order, or latent classes by labels
        without labels.
    """
    features, labels = samples.features, samples.labels
    measure = partial(_measure, keep=keep)
    given: dict[str, Any] = {**options._asdict(), 'seed': samples.seed, 'measure': measure}
    try:
        if (rows := samples.trained_apart()) is None:
            columns = score_columns(features, labels, **given)
        else:
            columns = score_trained_apart(features, labels, rows, **given)
    except ValueError as error:
        raise UserError(f'{samples.source}: {error}') from error
    columns |= _verdict_columns(samples, options, columns)
    if 'label_margin' in columns:
        _say_of_labels(columns['label_margin'], columns['label_z'])
    if labels is not None:
        columns['label'] = as_given(labels, samples.classes)
    return columns if samples.trained is None else {'trained': samples.trained, **columns}


def _measure(
    features: np.ndarray, *, pos_high: float, pos_low: float, keep: Path | None
) -> dict[str, np.ndarray]:
    """`bands_and_isolation`; of many samples to rounding, with its cost said and progress shown."""
    if len(features) <= _MANY_SAMPLES:
        warn_if_collapsed(relative_spread(features), 'features')
        return bands_and_isolation(features, pos_high=pos_high, pos_low=pos_low)
    request = Request(pos_high, pos_low, columns=('score', 'isolation'))
    # Images trained on are scored among all images, and again on their own.
    folder = keep and _tiles(keep, len(features))
    columns = score_rows(array_rows(features), request, keep=folder, overwrite=True).columns
    return {name: columns[name] for name in ('score', 'alpha', 'beta', 'gamma', 'isolation')}


def _tiles(keep: Path, count: int) -> Path:
    return keep.with_name(f'{keep.name}.{count}')


def tiles_of(samples: Samples, keep: Path) -> tuple[Path, ...]:
    """The folders in which `score` has kept finished tiles of these samples."""
    trained = () if samples.trained is None else (int(samples.trained.sum()),)
    return tuple(_tiles(keep, count) for count in (len(samples.features), *trained))


def _verdict_columns(
    samples: Samples, options: Options, columns: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Why each sample is difficult, and the evidence; images trained on are judged on their own."""

    def judged(rows: np.ndarray) -> dict[str, np.ndarray]:
        told = with_outlier_isolation(rows, samples.features, columns)
        return verdicts_of(rows, samples, options, told)

    verdict = judged(np.arange(len(samples.features)))
    if (rows := samples.trained_apart()) is not None:
        for name, values in judged(rows).items():
            verdict[name][rows] = values
    return verdict


def _say_of_labels(margin: np.ndarray, z: np.ndarray) -> None:
    """Says where another class leads for many samples, and few of them can stand out."""
    leads = margin > 0
    suspect = label_suspects(margin, z)
    if leads.mean() > _MANY and 2 * suspect.sum() < leads.sum():
        progress.say(
            f'labels: for {leads.sum()} of {len(leads)} samples another class leads among the '
            f'neighbours, and only {suspect.sum()} stand out; either the features do not separate '
            'the classes, or many labels are wrong; label_margin ranks them all'
        )


def verdicts_of(
    rows: np.ndarray, samples: Samples, options: Options, columns: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Verdicts and evidence of some samples, judged among themselves.

    Args:
      rows: `[r]` which samples.
      samples: all of them.
      options: the difficult band.
      columns: `score` and `isolation`, each `[m]`.

    Returns:
      `verdict`, an index into `graph.verdicts.VERDICTS`, and its evidence, each `[r]`; nothing for
      fewer than two samples.
    """
    if len(rows) < 2:
        return {}
    features = samples.features[rows]
    labels = None if samples.labels is None else samples.labels[rows]
    near = find_neighbours(
        features,
        **options.band(),
        count=NEIGHBOURS,
        progress=partial(progress.track, name='neighbours', unit='block'),
    )
    judged = judge(
        columns['score'][rows],
        columns['isolation'][rows],
        near.similarity[:, 0],
        near.nearest,
        labels,
    )
    evidence = {
        'nearest_cosine': near.similarity[:, 0],
        'duplicate_z': judged.duplicate_z,
        'outlier_z': judged.outlier_z,
    }
    if labels is not None:
        # A sample without a label is suspected of nothing.
        evidence['label_margin'] = np.nan_to_num(judged.label_margin)
        evidence['label_z'] = np.nan_to_num(judged.label_z)
    # A file of scores holds finite numbers alone.
    finite = {name: np.clip(values, -1e9, 1e9) for name, values in evidence.items()}
    return {'verdict': judged.verdict, **finite}


def with_outlier_isolation(
    rows: np.ndarray, features: np.ndarray, columns: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The columns with another `isolation` where there are too few samples to tell outliers by it.

    The two samples of a mutual nearest pair have isolation 0 by one neighbour. So among few samples
    half would have the same value, and the others stand out from it: at least five are looked at.

    Args:
      rows: `[r]` the samples that are judged, among which `columns` holds their isolation.
      features: `[m, k]` of all samples.
      columns: `isolation` `[m]`, and others.

    Returns:
      `columns` itself, or a copy in which the isolation of `rows` is measured among five
      neighbours, or all where there are fewer.
    """
    n = len(rows)
    if n < 2 or percentile_rank(NEAR, n - 1) >= _FEWEST_NEAR:
        return columns
    values = np.array(columns['isolation'])
    values[rows] = isolation(features[rows], near=min(_FEWEST_NEAR / (n - 1), 1.0))
    return columns | {'isolation': values}


def dynamics_columns(workdir: Path, samples: Samples) -> dict[str, np.ndarray]:
    """How the difficulty of each sample moved while a run trained, by the looks of its monitor.

    Args:
      workdir: folder of the run.
      samples: the samples that `from_run` returns.

    Returns:
      The columns of `graph.dynamics.SampleDynamics`, each `[m]` float64, with the prefix
      `dynamics_`; NaN for samples that the monitor did not look at.

    Raises:
      UserError: no file `dynamics.npz`, one of another run, or scores that are not finite.
    """
    dynamics = read_dynamics(workdir)
    try:
        summary = sample_dynamics(dynamics.score, dynamics.epochs)
    except ValueError as error:
        raise UserError(f'{workdir / DYNAMICS}: {error}') from error
    m = len(samples.features)
    index = np.arange(m) if samples.index is None else samples.index
    rows = rows_of(dynamics.indices, index)
    known = rows >= 0
    progress.say(
        f'dynamics: {known.sum()} of {m} samples, {len(dynamics.epochs)} looks up to epoch '
        f'{dynamics.epochs[-1]}' + ('' if known.all() else '; NaN for the others')
    )
    return {
        f'dynamics_{name}': np.where(known, values[rows], np.nan)
        for name, values in summary._asdict().items()
    }
