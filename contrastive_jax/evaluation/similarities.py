"""Measures alpha, beta and gamma of a trained run, or of the features of any encoder.

Axes: n samples, k features.
"""

import contextlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastive_jax import theory
from contrastive_jax.data.feature_files import Features, read_features
from contrastive_jax.data.feature_rows import open_rows
from contrastive_jax.data.sampling import representative
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.tiles.request import POS_HIGH, POS_LOW
from contrastive_jax.runtime import progress

__all__ = ['Similarities', 'measure_files', 'measure_run']


class Similarities(NamedTuple):
    """Similarities measured on a sample of a data set.

    Attributes:
      title: words that say what was measured.
      estimates: without labels and, where there are labels, with them.
      pos_high: where the difficult band begins, as a percentile from the top.
      num_classes: classes in the sample; without labels, the number that fits `pos_high`.
      samples_per_class: mean number of measured samples of a class, rounded down.
    """

    title: str
    estimates: dict[str, theory.Estimate]
    pos_high: float
    num_classes: int
    samples_per_class: int

    def fitted_model(self) -> theory.SimilarityModel:
        """The model of the last estimate.

        Raises:
          ValueError: the theory does not cover the estimates.
        """
        *_, last = self.estimates.values()
        return theory.fitted_model(last, self.num_classes, self.samples_per_class)


def measure_run(workdir: Path, images: int, *, everything: bool = False) -> Similarities:
    """Measures the features of a trained run, with labels where there are any.

    Args:
      workdir: folder of the run.
      images: how many images to measure of those that the run trained on. They are a random sample
        that holds each class in proportion.
      everything: whether to draw from the images that the run left out, too.

    Returns:
      The estimates, with the difficult band of the run.

    Raises:
      UserError: a folder without a trained run, or features that cannot be measured.
    """
    # Imported here, because features from elsewhere need neither Flax nor Orbax.
    from contrastive_jax.evaluation.features import extract_features
    from contrastive_jax.runs.loading import load_run

    run = load_run(workdir)
    built, pairs = run.construction, run.config.pairs
    split, _ = built.chosen(everything)
    drawn = representative(len(split.images), images, split.labels)
    rows = extract_features(run.encode, split.images[drawn])
    labels = None if split.labels is None else split.labels[drawn]
    kind = 'training images' if everything else 'images trained on'
    trained = f', {np.isin(drawn, built.kept).sum()} of them trained on' if everything else ''
    share = _share(len(drawn), len(split.images), kind)
    title = f'{share}{trained}, encoder of step {run.step}'
    features = Features(rows, labels, run.dataset.classes)
    return _measure(features, title, pairs.pos_high, pairs.pos_low)


def measure_files(features: str, labels: str | None, rows: int) -> Similarities:
    """Measures the features of any encoder, with the band of a data set of ten classes.

    Args:
      features: file or folder of shards, `[n, k]`, of any kind that `open_rows` reads.
      labels: npy file, `[n]` integers, or None.
      rows: how many rows to measure, a random sample that holds each class in proportion.

    Returns:
      The estimates, with the difficult band from `POS_HIGH` to `POS_LOW`.

    Raises:
      UserError: files that cannot be read or do not fit together, or features that cannot be
        measured.
    """
    stored = open_rows(features)
    drawn = read_features(stored, labels, dtype=np.float64, most=rows)
    title = _share(len(drawn.rows), len(stored), f'rows of {features}')
    return _measure(drawn, title, POS_HIGH, POS_LOW)


def _share(drawn: int, n: int, kind: str) -> str:
    return f'{drawn} {kind}' + ('' if drawn == n else f', a sample of {n}')


def _measure(features: Features, title: str, pos_high: float, pos_low: float) -> Similarities:
    estimate = partial(
        theory.estimate,
        features.rows,
        pos_high=pos_high,
        pos_low=pos_low,
        progress=partial(progress.track, name='cosines', unit='block'),
    )
    estimates: dict[str, theory.Estimate] = {}
    try:
        # Some bands hold no pairs, and with labels that does not matter.
        with contextlib.suppress(*(() if features.labels is None else (ValueError,))):
            estimates['without labels'] = estimate()
        if features.labels is not None:
            estimates['with labels'] = estimate(features.labels)
    except ValueError as error:
        raise UserError(f'{title}: {error}') from error
    # Classes of the sample, since the model counts the samples that were measured.
    labels = features.labels
    classes = round(1 / pos_high) if labels is None else len(np.unique(labels))
    return Similarities(title, estimates, pos_high, classes, len(features.rows) // classes)
