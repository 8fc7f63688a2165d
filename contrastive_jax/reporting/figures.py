"""The figures of a report as Bokeh draws them.

Every cell has a colour of `LIGHT` and a pattern of `DASHES`. What is drawn of a cell has its index
and the number of its colour as tags, by which `report.js` hides, shows and colours it.
"""

from collections.abc import Sequence
from typing import Any

from bokeh.core.properties import value
from bokeh.models import BasicTicker, HoverTool

from contrastive_jax.reporting.entries import counted, mean_and_deviation
from contrastive_jax.reporting.pictures import Curve, Dots, Picture
from contrastive_jax.reporting.plots import plot
from contrastive_jax.reporting.style import CURVE, LIGHT, PERCENT, dashes_of, pattern

__all__ = ['bokeh_figure']

_PERCENT, _CURVE = pattern(PERCENT), pattern(CURVE)


def bokeh_figure(picture: Picture, names: Sequence[str]) -> Any:
    """One figure.

    Args:
      picture: what it shows.
      names: name of each cell.

    Returns:
      The figure of Bokeh.
    """
    height = 80 + 40 * len(names) if picture.dots else 300
    made = plot(height=height, tools='box_zoom,reset,save', active_drag=None)
    made.toolbar.autohide = True
    for dots in picture.dots:
        _draw_dots(made, dots, names[dots.cell])
    for curve in picture.curves:
        _draw_curve(made, curve, names[curve.cell])
    made.xaxis.axis_label, made.yaxis.axis_label = picture.x_label, picture.y_label
    if picture.dots:
        made.y_range.update(start=len(names) - 0.4, end=-0.5)
        made.yaxis.ticker = list(range(len(names)))
        made.yaxis.major_label_overrides = {i: str(i + 1) for i in range(len(names))}
        made.ygrid.visible = False
    else:
        made.xaxis.ticker = BasicTicker(min_interval=1)
    return made


def _draw_dots(made: Any, dots: Dots, name: str) -> None:
    """Mean and standard deviation as a bar, and each seed as a dot below it."""
    look = {'name': name, 'tags': _tags(dots.cell)}
    (mean, std, _), y = dots.summary, dots.cell
    # The second line marks the mean.
    bar = made.segment(
        [mean - (std or 0), mean], [y, y - 0.15], [mean + (std or 0), mean], [y, y + 0.15],
        line_width=2, line_dash=value(dashes_of(dots.cell)), **look,
    )  # fmt: skip
    tips = [('mean', mean_and_deviation(dots.summary, 2))]
    if std is not None:
        tips.append(('interval', f'{mean - std:{PERCENT}} to {mean + std:{PERCENT}}'))
    _hover(made, bar, tips)
    data = {'x': dots.values, 'y': dots.heights(), 'seed': list(map(str, dots.seeds))}
    seeds = made.scatter('x', 'y', size=6, source=data, **look)
    _hover(made, seeds, [('seed', '@seed'), ('value', f'@x{{{_PERCENT}}}')])


def _draw_curve(made: Any, curve: Curve, name: str) -> None:
    """The mean as a line, with a band of one standard deviation."""
    look = {'name': name, 'tags': _tags(curve.cell)}
    data = {'x': curve.epochs, 'y': curve.mean}
    tips = [('epoch', '@x'), (f'mean of {counted(curve.seeds, "seed")}', f'@y{{{_CURVE}}}')]
    if curve.std is not None:
        data |= {'low': curve.mean - curve.std, 'high': curve.mean + curve.std}
        made.varea('x', 'low', 'high', source=data, fill_alpha=0.2, **look)
        tips.append(('interval', f'@low{{{_CURVE}}} to @high{{{_CURVE}}}'))
    if len(curve.epochs) > 1:
        dashes = dashes_of(curve.cell)
        line = made.line('x', 'y', source=data, line_width=2, line_dash=dashes, **look)
    else:
        line = made.scatter('x', 'y', source=data, size=6, **look)
    _hover(made, line, tips)


def _tags(cell: int) -> list[int]:
    return [cell, cell % len(LIGHT)]


def _hover(made: Any, drawn: Any, tips: list[tuple[str, str]]) -> None:
    """Shows the name of the cell and these lines; Bokeh shows all of it as text."""
    tips = [('cell', '$name'), *tips]
    made.add_tools(HoverTool(renderers=[drawn], tooltips=tips, visible=False, limit=3))
