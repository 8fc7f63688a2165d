"""Rows of features that are scored in tiles, with what is known of their samples.

Axes: n samples.
"""

from typing import NamedTuple

import numpy as np

from contrastive_jax.data.feature_files import as_given
from contrastive_jax.data.feature_rows import Rows, array_rows
from contrastive_jax.data.score_files import ScoreFile
from contrastive_jax.evaluation.samples import Samples
from contrastive_jax.evaluation.scoring import Scoring
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.runtime import memory

__all__ = [
    'RowSamples',
    'rows_of_samples',
    'scored_file',
    'why_tiles',
]


class RowSamples(NamedTuple):
    """Rows of features, which need not fit into memory, and what is known of the samples.

    Attributes:
      rows: features of n samples.
      labels: `[n]` class of each sample, or None.
      classes: names of the classes.
      place: index, files and checksum of the images that the rows belong to, as far as there are
        any, without columns.
      step: number of steps that the encoder of a run had taken; None of another encoder.
    """

    rows: Rows
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    place: ScoreFile = ScoreFile({}, None)
    step: int | None = None


def rows_of_samples(samples: Samples) -> RowSamples:
    """Samples whose features are in memory."""
    return RowSamples(
        array_rows(samples.features, samples.source),
        samples.labels,
        samples.classes,
        ScoreFile({}, samples.image_checksum(), samples.index, samples.files),
        samples.step,
    )


def why_tiles(rows: Rows) -> str:
    """Why rows are scored in tiles: their kind, or their memory; empty if they are not."""
    if not rows.whole:
        return 'they are no single npy or npz file; numpy.save makes one'
    # Scores of all columns at once take the features in float64, and again.
    needed = 40 * len(rows) * rows.width
    return 'they do not fit into memory' if needed > memory.on_each_device() else ''


def scored_file(samples: RowSamples, request: Request, scoring: Scoring) -> ScoreFile:
    """The columns of a scoring in the order of the files, beside what names the samples."""
    order = ('score', 'error', 'alpha', 'beta', 'gamma')
    names = (*order, *sorted(scoring.columns.keys() - {*order}))
    columns = {name: scoring.columns[name] for name in names if name in scoring.columns}
    if 'partner' in columns and samples.place.index is not None:
        # As `index` beside it, a position in the split and not among the rows that were scored.
        columns['partner'] = samples.place.index[columns['partner']]
    if samples.labels is not None:
        columns['label'] = as_given(samples.labels, samples.classes)
    return samples.place._replace(columns=columns, landmarks=request.landmarks)
