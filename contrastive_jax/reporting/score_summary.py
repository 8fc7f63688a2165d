"""The summary of a scoring, and the same as printed text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from contrastive_jax.data.score_files import ScoreFile
from contrastive_jax.evaluation.row_scores import RowSamples
from contrastive_jax.evaluation.samples import Options, Samples
from contrastive_jax.evaluation.scoring import Scoring
from contrastive_jax.evaluation.tiles.request import Request, small_band
from contrastive_jax.graph.columns import class_means, column_summary
from contrastive_jax.graph.landmarks import rank_error
from contrastive_jax.reporting.style import SCORE, one_line

__all__ = [
    'PRINTED',
    'hardest_classes',
    'sample_names',
    'summarise_rows',
    'summarise_scores',
    'summary_text',
]

_IN_MEMORY = ('score', 'alpha', 'beta', 'gamma', 'isolation', 'sas')
# Columns whose spread is summarised, where a scoring has them.
_SUMMARISED = (*_IN_MEMORY, 'supervised_margin', 'error')
# Hardest samples and hardest classes in the text.
PRINTED = 10


def summarise_scores(samples: Samples, options: Options, columns: dict[str, np.ndarray]) -> dict:
    """What `scores.json` holds.

    NumPy and not pandas computes the means, because pandas sums float32 columns in float64, which
    would change the last digits of files that exist.
    """
    labels, trained = samples.labels, samples.trained
    by_class = None if labels is None else class_means(columns['score'], labels, samples.classes)
    return {
        'samples': len(samples.features),
        **({} if trained is None else {'trained': int(trained.sum())}),
        'source': samples.source,
        **options.band(),
        'checksum': samples.image_checksum(),
        'features_checksum': samples.features_checksum,
        'step': samples.step,
        **{name: column_summary(columns[name]) for name in _IN_MEMORY},
        'by_class': by_class,
    }


def summarise_rows(samples: RowSamples, request: Request, scoring: Scoring) -> dict:
    """What `scores.json` holds of a scoring in tiles."""
    rows, columns, labels = samples.rows, scoring.columns, samples.labels
    by_class = None if labels is None else class_means(columns['score'], labels, samples.classes)
    facts: dict[str, Any] = {
        'samples': len(rows),
        'source': rows.source,
        'pos_high': request.pos_high,
        'pos_low': request.pos_low,
        'checksum': samples.place.checksum,
        'features_checksum': scoring.checksum,
        'landmarks': request.landmarks,
        **{name: column_summary(columns[name]) for name in _SUMMARISED if name in columns},
        'by_class': by_class,
    }
    if request.landmarks is not None:
        facts['guaranteed'] = {
            'probability': 0.95,
            'rank_error': rank_error(request.landmarks, len(rows)),
            'width': column_summary(columns['score_high'] - columns['score_low']),
        }
    if note := small_band(request, len(rows)):
        facts['note'] = note
    return facts | {'step': samples.step}


def summary_text(summary: dict, hardest: Sequence[str], separator: str = ' ') -> str:
    """The summary as lines for the terminal, with the hardest classes and samples.

    Args:
      summary: what `scores.json` holds.
      hardest: names of the hardest samples.
      separator: what stands before each of these names.

    Returns:
      The lines, without a line break at the end.
    """
    columns = ('mean', 'least', 'p10', 'median', 'p90', 'greatest')
    shown = [name for name in _SUMMARISED if name in summary]
    width = max(map(len, shown))
    landmarks = summary.get('landmarks')
    how = '' if landmarks is None else f', {landmarks} landmarks'
    lines = [
        f'{summary["samples"]} {summary["source"]}, difficult band {summary["pos_high"]} to '
        f'{summary["pos_low"]}{how}',
        f'{"":{width}}' + ''.join(f'{name:>9}' for name in columns),
    ]
    for name in shown:
        numbers = (f'{summary[name][column]:9{SCORE}}' for column in columns)
        lines.append(f'{name:{width}}' + ''.join(numbers))
    if landmarks is not None:
        interval, error = summary['guaranteed']['width'], summary['error']
        lines.append(
            f'error of the score: estimated standard error {error["median"]:.4f} (median), '
            f'guaranteed interval {interval["median"]:.3f} wide (median, 95 %)'
        )
    if means := summary['by_class']:
        names = hardest_classes(means, PRINTED)
        words = ', '.join(f'{one_line(name)} {means[name]:{SCORE}}' for name in names)
        lines.append(f'mean score by class, hardest first: {words}')
    lines.append(f'hardest:{separator}{separator.join(hardest)}')
    return '\n'.join(lines)


def hardest_classes(means: dict[str, float], count: int) -> list[str]:
    """The classes with the highest mean scores, hardest first."""
    return sorted(means, key=lambda name: -means[name])[:count]


def sample_names(samples: Samples | ScoreFile, rows: Sequence[int] | np.ndarray) -> list[str]:
    """What to call some samples in print: their file or, where there is none, their index."""
    if samples.files is not None:
        return [one_line(samples.files[row]) for row in rows]
    return [str(row if samples.index is None else samples.index[row]) for row in rows]
