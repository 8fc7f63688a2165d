"""Curves and dots as SVG to stand in a page, which gives them their colours.

Every cell is drawn in a colour of `LIGHT` and a pattern of `DASHES`. In the SVG the colours are
replaced by variables of the page's style, so that a dark page can have others: `--cell-0` to
`--cell-7` for the cells, `--rule` for the grid, and the colour of the text.
"""

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from contrastive_jax.reporting.statistics import Cell, by_seed, curves

__all__ = ['DARK', 'DASHES', 'LIGHT', 'draw_curves', 'draw_dots']

LIGHT = ('#0072b2', '#b84a00', '#00805d', '#a8417c', '#806600', '#5b5bd6', '#555555', '#b3261e')
DARK = ('#5ab4f0', '#ff9d5c', '#3ecf9f', '#f08fc4', '#e0b83a', '#a5a5ff', '#c8c8c8', '#ff8a80')
DASHES = ((), (6, 3), (2, 2), (8, 2, 2, 2))
_INK, _RULE = '#101112', '#c0c1c2'
_STYLE = {
    'svg.fonttype': 'none',
    'svg.hashsalt': 'contrastive_jax',
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': _RULE,
    'grid.linewidth': 0.6,
    **dict.fromkeys(
        ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), _INK
    ),
}
_WIDTH = 4.8


def draw_curves(cells: Sequence[Cell], name: str, label: str) -> str:
    """Mean over the seeds against the epoch, in a band of one standard deviation.

    Args:
      cells: a colour each.
      name: of the curve.
      label: of the ordinate.

    Returns:
      An SVG element, or nothing where no cell has the curve.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 3.2), layout='constrained')
        axes = figure.subplots()
        for place, cell in enumerate(cells):
            epochs, values = curves(cell, name)
            if not epochs:
                continue
            mean, look = values.mean(0), _look(place)
            axes.plot(epochs, mean, marker='.' if len(epochs) == 1 else '', **look)
            if len(values) > 1:
                std = values.std(0, ddof=1)
                band = {'color': look['color'], 'alpha': 0.2, 'linewidth': 0}
                axes.fill_between(epochs, mean - std, mean + std, **band)
        axes.set(xlabel='epoch', ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, name) if axes.lines else ''


def draw_dots(cells: Sequence[Cell], name: str, label: str) -> str:
    """Each seed as a dot, mean and standard deviation as a bar, a line a cell.

    Args:
      cells: a colour each.
      name: of the measure, shown in %.
      label: of the abscissa.

    Returns:
      An SVG element, or nothing where no cell has the measure.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 0.8 + 0.42 * len(cells)), layout='constrained')
        axes = figure.subplots()
        for place, cell in enumerate(cells):
            values = 100 * np.array(list(by_seed(cell, name).values()))
            if not len(values):
                continue
            look = _look(place)
            std = values.std(ddof=1) if len(values) > 1 else None
            axes.errorbar(values.mean(), place, xerr=std, marker='|', markersize=14, **look)
            # A little apart, since seeds may be equal.
            apart = place + 0.25 + 0.12 * np.linspace(-1, 1, len(values)) * (len(values) > 1)
            axes.plot(values, apart, 'o', markersize=3.5, markeredgewidth=0, color=look['color'])
        axes.set(
            xlabel=label, ylabel='cell', ylim=(len(cells) - 0.4, -0.5), yticks=range(len(cells))
        )
        axes.set_yticklabels([str(place + 1) for place in range(len(cells))])
        axes.grid(visible=False, axis='y')
        return _svg(figure, name) if axes.lines else ''


def _look(place: int) -> dict:
    dashes = DASHES[place // len(LIGHT) % len(DASHES)]
    return {
        'color': LIGHT[place % len(LIGHT)],
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
    text = re.sub(r'(\bid="|\bhref="#|url\(#)', rf'\g<1>{name}-', text)
    colours = {colour: f'var(--cell-{place})' for place, colour in enumerate(LIGHT)}
    for colour, variable in {**colours, _INK: 'currentColor', _RULE: 'var(--rule)'}.items():
        text = text.replace(colour, variable)
    return text
