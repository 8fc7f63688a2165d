"""A figure that shows what System 2 adds to the cosine."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contrastive_jax.reporting.style import BLUE, FIGURE, GREEN, GUIDE, ORANGE

__all__ = ['overview']


@matplotlib.rc_context(FIGURE)
def overview(summary: dict) -> Figure:
    """Draws the AUC of every score in the band, and the AUC by steps and by fraction rescored.

    Args:
      summary: content of `verify.json`, from images with labels.
    """
    figure = Figure(figsize=(12, 9), layout='constrained')
    axes = figure.subplots(2, 2)
    for column, split in enumerate(('train', 'test')):
        if 'class' in summary.get(split, {}):
            _bars(axes[0, column], summary[split]['class'], f'same class in the band, {split}')
    tables = summary['test'] if 'class' in summary['test'] else summary['train']
    _steps(axes[1, 0], tables)
    _fractions(axes[1, 1], tables)
    return figure


def _bars(axes: Axes, table: dict, title: str) -> None:
    rows = sorted(table.items(), key=lambda item: item[1]['auc'])
    centres = [row['auc'] for _, row in rows]
    # A row without an interval gets no error bar, because NaN is not drawn.
    limits = np.array([row['auc_interval'] or (np.nan, np.nan) for _, row in rows])
    errors = np.maximum(0, [centres - limits[:, 0], limits[:, 1] - centres])
    colours = [ORANGE if name.startswith(('system 2', 'G ', 'd ')) else BLUE for name, _ in rows]
    axes.barh([name for name, _ in rows], centres, xerr=errors, color=colours)
    axes.axvline(0.5, color=GUIDE, linewidth=0.8)
    axes.set(xlabel='ROC-AUC with 95 % bootstrap interval over anchors', title=title)
    axes.set_xlim(max(0.0, min(centres) - 0.1), 1)


def _steps(axes: Axes, tables: dict) -> None:
    for kind, line in (('class', '-'), ('instance', '--')):
        rows = tables[f'{kind}_by_steps']
        for name, marker, colour in (
            ('F and G', 'o', BLUE),
            ('G', 's', ORANGE),
            ('d', '^', GREEN),
        ):
            kept = [row for row in rows if row['steps'] or name == 'F and G']
            axes.plot(
                [row['steps'] for row in kept],
                [row[name] for row in kept],
                line,
                marker=marker,
                color=colour,
                label=f'{name}, same {kind}',
            )
    axes.axhline(0.5, color=GUIDE, linewidth=0.8)
    axes.set(xlabel='steps of thinking', ylabel='ROC-AUC', title='more steps of thinking')
    axes.legend(fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))


def _fractions(axes: Axes, tables: dict) -> None:
    rows = tables['by_fraction']
    axes.plot(
        [100 * row['fraction'] for row in rows], [row['auc'] for row in rows], 'o-', color=BLUE
    )
    axes.set_xscale('symlog', linthresh=1)
    axes.set_xticks([0, 1, 5, 10, 25, 100], ['0', '1', '5', '10', '25', '100'])
    axes.set(
        xlabel='% of the band rescored, the most undecided first',
        ylabel='ROC-AUC, same class',
        title='only a part rescored',
    )
