"""Rows of features that are scored in tiles, and the files that a scoring writes.

Axes: n samples.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contrastive_jax.data.feature_files import as_given
from contrastive_jax.data.feature_rows import Rows, array_rows
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.evaluation.samples import Samples
from contrastive_jax.evaluation.scoring import Scoring
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.evaluation.tiles.store import TileStore
from contrastive_jax.runtime import memory
from contrastive_jax.runtime.files import write_json
from contrastive_jax.runtime.outputs import make_folder

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    'SCORE_FILES',
    'RowSamples',
    'rows_of_samples',
    'save_scores',
    'scored_file',
    'why_tiles',
]

# What a scoring writes; the pictures come from one in memory alone.
SCORE_FILES = (
    *(f'scores.{kind}' for kind in ('npz', 'csv', 'parquet', 'json')),
    *(f'scores_{name}.png' for name in ('histogram', 'gallery', 'classes')),
)


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


def save_scores(
    out: Path, summary: dict, file: ScoreFile, tiles: Iterable[Path], more: 'pa.Table | None' = None
) -> None:
    """Writes scores and their summary in place of those of an earlier scoring.

    Args:
      out: folder to write to.
      summary: what `scores.json` holds.
      file: the scores.
      tiles: folders of finished tiles, which are not needed any more.
      more: further columns of `scores.parquet`.
    """
    # Not all of them are written, and what an earlier scoring left would show other scores.
    make_folder(out, SCORE_FILES)
    write_json(out / 'scores.json', summary)
    write_scores(out / 'scores.npz', file, more)
    for finished in tiles:
        TileStore(finished).remove()
