"""Curves and dots as SVG elements of a page, which sets their colours.

Every cell has a colour of `LIGHT` and a pattern of `DASHES`. In the SVG the colours become
variables of the page's style, so that a dark page can have others: `--cell-0` to `--cell-7` for the
cells, `--rule` for the grid, and the colour of the text.
"""

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from contrastive_jax.reporting.statistics import Cell, by_seed, curves
from contrastive_jax.reporting.style import DASHES, FIGURE, LIGHT, RULE

__all__ = ['draw_curves', 'draw_dots']

# Replaced in the SVG, so it must differ from every other colour.
_INK = '#101112'
_SVG = {
    **FIGURE,
    'font.size': 9,
    'svg.fonttype': 'none',
    'svg.hashsalt': 'contrastive_jax',
    **dict.fromkeys(
        ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), _INK
    ),
}
_WIDTH = 4.8


def draw_curves(cells: Sequence[Cell], name: str, label: str) -> str:
    """Mean over the seeds against the epoch, with a band of one standard deviation.

    Args:
      cells: each in its own colour.
      name: name of the curve.
      label: label of the ordinate.

    Returns:
      An SVG element, or an empty text where no cell has the curve.
    """
    with matplotlib.rc_context(_SVG):
        figure = Figure(figsize=(_WIDTH, 3.2), layout='constrained')
        axes = figure.subplots()
        for index, cell in enumerate(cells):
            epochs, values = curves(cell, name)
            if not epochs:
                continue
            mean, look = values.mean(0), _look(index)
            axes.plot(epochs, mean, marker='.' if len(epochs) == 1 else '', **look)
            if len(values) > 1:
                std = values.std(0, ddof=1)
                band = {'color': look['color'], 'alpha': 0.2, 'linewidth': 0}
                axes.fill_between(epochs, mean - std, mean + std, **band)
        axes.set(xlabel='epoch', ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, name) if axes.lines else ''


def draw_dots(cells: Sequence[Cell], name: str, label: str) -> str:
    """One line per cell: each seed as a dot, mean and standard deviation as a bar.

    Args:
      cells: each in its own colour.
      name: name of the measure, which is shown in %.
      label: label of the abscissa.

    Returns:
      An SVG element, or an empty text where no cell has the measure.
    """
    with matplotlib.rc_context(_SVG):
        figure = Figure(figsize=(_WIDTH, 0.8 + 0.42 * len(cells)), layout='constrained')
        axes = figure.subplots()
        for index, cell in enumerate(cells):
            values = 100 * np.array(list(by_seed(cell, name).values()))
            if not len(values):
                continue
            look = _look(index)
            std = values.std(ddof=1) if len(values) > 1 else None
            axes.errorbar(values.mean(), index, xerr=std, marker='|', markersize=14, **look)
            # A little apart, since seeds may have equal values.
            heights = index + 0.25 + 0.12 * np.linspace(-1, 1, len(values)) * (len(values) > 1)
            axes.plot(values, heights, 'o', markersize=3.5, markeredgewidth=0, color=look['color'])
        axes.set(
            xlabel=label, ylabel='cell', ylim=(len(cells) - 0.4, -0.5), yticks=range(len(cells))
        )
        axes.set_yticklabels([str(index + 1) for index in range(len(cells))])
        axes.grid(visible=False, axis='y')
        return _svg(figure, name) if axes.lines else ''


def _look(index: int) -> dict:
    dashes = DASHES[index // len(LIGHT) % len(DASHES)]
    return {
        'color': LIGHT[index % len(LIGHT)],
        'linestyle': (0, dashes) if dashes else '-',
        'linewidth': 1.6,
    }


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element whose ids are its own and whose colours are the page's."""
    file = io.StringIO()
    figure.savefig(
        file,
        format='svg',
        transparent=True,
        metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type')),
    )
    text = file.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<(metadata|style).*?</\1>', '', text, flags=re.DOTALL)
    own = re.sub(r'\W', '-', name)
    text = re.sub(r'(\bid="|\bhref="#|url\(#)', rf'\g<1>{own}-', text)
    colours = {colour: f'var(--cell-{index})' for index, colour in enumerate(LIGHT)}
    for colour, variable in {**colours, _INK: 'currentColor', RULE: 'var(--rule)'}.items():
        text = text.replace(colour, variable)
    return text
