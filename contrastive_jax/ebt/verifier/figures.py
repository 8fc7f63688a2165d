"""One picture of what System 2 adds."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contrastive_jax.reporting.style import BLUE, FIGURE, GREEN, GUIDE, ORANGE

__all__ = ['overview']


@matplotlib.rc_context(FIGURE)
def overview(summary: dict) -> Figure:
    """In-band AUC of every score; against steps, margin, and fraction rescored.

    Args:
      summary: what `verify.json` holds, with labels.
    """
    figure = Figure(figsize=(12, 9), layout='constrained')
    axes = figure.subplots(2, 2)
    for place, split in enumerate(('train', 'test')):
        if 'class' in summary.get(split, {}):
            _bars(axes[0, place], summary[split]['class'], f'same class in the band, {split}')
    found = summary['test'] if 'class' in summary['test'] else summary['train']
    _steps(axes[1, 0], found)
    _fractions(axes[1, 1], found)
    return figure


def _bars(axes: Axes, table: dict, title: str) -> None:
    rows = sorted(table.items(), key=lambda item: item[1]['auc'])
    centres = [row['auc'] for _, row in rows]
    # A row without an interval gets no bar: NaN is not drawn.
    ends = np.array([row['auc_interval'] or (np.nan, np.nan) for _, row in rows])
    errors = np.maximum(0, [centres - ends[:, 0], ends[:, 1] - centres])
    colours = [ORANGE if name.startswith(('system 2', 'G ', 'd ')) else BLUE for name, _ in rows]
    axes.barh([name for name, _ in rows], centres, xerr=errors, color=colours)
    axes.axvline(0.5, color=GUIDE, linewidth=0.8)
    axes.set(xlabel='ROC-AUC, 95 % of the bootstrap over anchors', title=title)
    axes.set_xlim(max(0.0, min(centres) - 0.1), 1)


def _steps(axes: Axes, found: dict) -> None:
    for kind, line in (('class', '-'), ('instance', '--')):
        rows = found[f'{kind}_by_steps']
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
    axes.set(xlabel='steps of thinking', ylabel='ROC-AUC', title='thinking longer')
    axes.legend(fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))


def _fractions(axes: Axes, found: dict) -> None:
    rows = found['by_fraction']
    axes.plot(
        [100 * row['fraction'] for row in rows], [row['auc'] for row in rows], 'o-', color=BLUE
    )
    axes.set_xscale('symlog', linthresh=1)
    axes.set_xticks([0, 1, 5, 10, 25, 100], ['0', '1', '5', '10', '25', '100'])
    axes.set(
        xlabel='% of the band rescored, the most undecided first',
        ylabel='ROC-AUC, same class',
        title='rescoring a part',
    )
