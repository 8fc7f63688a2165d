"""The files and the summary of rows of features that are scored in tiles.

Axes: n samples.
"""

from pathlib import Path

import numpy as np

from contrastive_jax.data.feature_files import as_given
from contrastive_jax.data.feature_rows import Rows, array_rows
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import Samples
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles.request import Request, check_request
from contrastive_jax.evaluation.tiles.store import TILES, TileStore
from contrastive_jax.graph.columns import class_means, column_summary, hardest_and_easiest
from contrastive_jax.graph.landmarks import rank_error
from contrastive_jax.reporting.score_summary import PRINTED, SUMMARISED, summary_text
from contrastive_jax.reporting.style import one_line
from contrastive_jax.runtime import distributed, memory, progress
from contrastive_jax.runtime.files import write_json

__all__ = ['PICTURES', 'run_rows', 'run_samples', 'why_tiles']

# What a scoring in memory draws.
PICTURES = tuple(f'scores_{name}.png' for name in ('histogram', 'gallery', 'classes'))
_LEAST_IN_BAND = 50


def why_tiles(rows: Rows) -> str:
    """Why rows are scored in tiles: their kind, or their memory; empty if they are not."""
    if not rows.whole:
        return 'they are no single npy or npz file; numpy.save makes one'
    # Scores of all columns at once take the features in float64, and again.
    needed = 40 * len(rows) * rows.width
    return 'they do not fit into memory' if needed > memory.on_each_device() else ''


def run_samples(samples: Samples, request: Request, out: Path, *, overwrite: bool) -> dict:
    """`run_rows` of samples whose features are in memory."""
    return run_rows(
        array_rows(samples.features, samples.source),
        request,
        out,
        labels=samples.labels,
        classes=samples.classes,
        images=ScoreFile({}, samples.image_checksum(), samples.index, samples.files),
        step=samples.step,
        overwrite=overwrite,
    )


def run_rows(
    rows: Rows,
    request: Request,
    out: Path,
    *,
    labels: np.ndarray | None = None,
    classes: tuple[str, ...] = (),
    images: ScoreFile | None = None,
    step: int | None = None,
    overwrite: bool = False,
) -> dict:
    """Scores rows of features, writes `scores.parquet`, `.npz`, `.csv` and `.json`, and prints.

    Finished tiles stay in a folder in `out` until all files are written, so that the same call goes
    on from them.

    Args:
      rows: features of n samples.
      request: what to compute.
      out: folder to write to.
      labels: `[n]` class of each sample, or None.
      classes: names of the classes.
      images: index, files and checksum of the images that the rows belong to; its columns are not
        used. None where there are no images.
      step: number of steps that the encoder of a run had taken; None of another encoder.
      overwrite: whether unfinished tiles of another scoring may be deleted.

    Returns:
      The summary, what `scores.json` holds.

    Raises:
      UserError: see `score_rows`.
    """
    progress.say(f'scores: {len(rows)} {rows.source}')
    _check(request, rows, labels)
    warning = _small_band(request, len(rows))
    if warning:
        progress.say(warning)
    scoring = score_rows(rows, request, labels, keep=out / TILES, overwrite=overwrite)
    summary = _summary(rows, request, scoring, labels, classes, images, warning) | {'step': step}
    distributed.by_writer(lambda: _write(out, request, scoring, labels, classes, images, summary))
    hardest, _ = hardest_and_easiest(scoring.columns['score'], np.arange(len(rows)), PRINTED)
    index = hardest if images is None or images.index is None else images.index[hardest]
    if images is None or images.files is None:
        print(summary_text(summary, [str(name) for name in index]))
    else:
        print(summary_text(summary, [one_line(images.files[row]) for row in hardest], '\n  '))
    names = [f'scores.{kind}' for kind in ('parquet', 'npz', 'csv', 'json')]
    print(f'written to {out}: {", ".join(name for name in names if (out / name).exists())}')
    return summary


def _check(request: Request, rows: Rows, labels: np.ndarray | None) -> None:
    try:
        check_request(request, len(rows), rows.width, labels)
    except UserError as error:
        # Functions of Python name an argument, and here it is a flag.
        raise UserError(f'--{str(error).removeprefix("--")}') from error


def _small_band(request: Request, n: int) -> str | None:
    """A line if the top band holds too few landmarks."""
    if request.landmarks is None or request.pos_high == 0:
        return None
    held = request.pos_high * request.landmarks
    if held >= _LEAST_IN_BAND:
        return None
    enough = round(_LEAST_IN_BAND / request.pos_high)
    more = f'--landmarks={enough} puts {_LEAST_IN_BAND} into it, and ' if enough < n else ''
    return (
        f'note: the top band, pos_high={request.pos_high}, holds {held:.0f} of '
        f'{request.landmarks} landmarks, too few for its mean and threshold; {more}'
        'without --landmarks the score is exact'
    )


def _summary(rows, request, scoring, labels, classes, images, warning) -> dict:
    columns = scoring.columns
    facts = {
        'samples': len(rows),
        'source': rows.source,
        'pos_high': request.pos_high,
        'pos_low': request.pos_low,
        'checksum': None if images is None else images.checksum,
        'features_checksum': scoring.checksum,
        'landmarks': request.landmarks,
        **{name: column_summary(columns[name]) for name in SUMMARISED if name in columns},
        'by_class': None if labels is None else class_means(columns['score'], labels, classes),
    }
    if request.landmarks is not None:
        facts['guaranteed'] = {
            'probability': 0.95,
            'rank_error': rank_error(request.landmarks, len(rows)),
            'width': column_summary(columns['score_high'] - columns['score_low']),
        }
    return {**facts, 'note': warning} if warning else facts


def _write(out, request, scoring, labels, classes, images, summary) -> None:
    columns = dict(scoring.columns)
    order = ('score', 'error', 'alpha', 'beta', 'gamma')
    columns = {x: columns[x] for x in (*order, *sorted(columns)) if x in columns}
    place = images or ScoreFile({}, None)
    if 'partner' in columns and place.index is not None:
        # As `index` beside it, a position in the split and not among the rows that were scored.
        columns['partner'] = place.index[columns['partner']]
    if labels is not None:
        columns['label'] = as_given(labels, classes)
    # Not all of them are written, and what an earlier scoring left would show other scores.
    for name in ('scores.json', 'scores.npz', 'scores.csv', *PICTURES):
        (out / name).unlink(missing_ok=True)
    write_json(out / 'scores.json', summary)
    write_scores(out / 'scores.npz', place._replace(columns=columns, landmarks=request.landmarks))
    TileStore(out / TILES).remove()
