"""The parts of an atlas that Bokeh draws: map, histogram, filters and table.

`atlas.js` finds them by their names.
"""

from typing import Any, NamedTuple

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    BooleanFilter,
    BoxSelectTool,
    CDSView,
    ColumnDataSource,
    HoverTool,
    InlineStyleSheet,
)
from bokeh.models.widgets import (
    DataTable,
    HTMLTemplateFormatter,
    MultiSelect,
    NumberFormatter,
    RangeSlider,
    Select,
    StringFormatter,
    TableColumn,
    TextInput,
)
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.reporting.atlas.content import Content
from contrastive_jax.reporting.atlas.sprites import Sheet
from contrastive_jax.reporting.style import BLUE, DARK, LIGHT

__all__ = ['Colours', 'colours_of', 'models']

# A grey that can be read on white and on black.
_AXIS = '#7a7a7a'
_BINS = 40
_HOVER, _ROW = 72, 28
_MOST_NAMES = 60
# Bokeh's widgets are made for a light page; these variables are those of `atlas.css`.
_INPUT = (
    '.bk-input, .choices__inner, .choices__list { background: var(--ground); color: var(--ink); }'
)
_GRID = """
.slick-row, .slick-row.odd, .slick-viewport { background: var(--ground); color: var(--ink); }
.slick-row.odd { background: var(--stripe); }
.slick-row .slick-cell.selected { background: var(--link); color: var(--ground); }
.slick-header-columns, .slick-header-column { background: var(--ground); color: var(--ink); }
"""
# Classes of one colour differ in their markers.
_MARKERS = ('circle', 'triangle', 'square', 'diamond')
_SIGNS = ('●', '▲', '■', '◆')


class Colours(NamedTuple):
    """The colours of each sample, and their meaning.

    Attributes:
      columns: by what they show, `[n]` colours; names that begin with 'dark ' are for a dark page.
      legends: by the same names, for each name its colour and a sign like its marker.
      markers: `[n]` names of markers.
    """

    columns: dict[str, list[str]]
    legends: dict[str, list[tuple[str, str, str]]]
    markers: list[str]


def colours_of(content: Content) -> Colours:
    """Colours by score, by verdict and, with labels, by class. Many classes share colours."""
    low, high = float(content.score.min()), float(content.score.max())
    levels = (content.score - low) / (high - low if high > low else 1.0)
    ends = [
        (f'{low + step * (high - low):.2f}', Viridis256[int(255 * step)], _SIGNS[0])
        for step in (0, 0.5, 1)
    ]
    found = Colours(
        {'score': [Viridis256[int(level * 255)] for level in levels]}, {'score': ends}, []
    )
    classes = sorted(set(content.labels or ()))
    kinds = {name: at // len(LIGHT) % len(_MARKERS) for at, name in enumerate(classes)}
    for theme, palette in (('', LIGHT), ('dark ', DARK)):
        named = dict(zip(VERDICTS, (_AXIS, *palette), strict=False))
        found.columns[f'{theme}verdict'] = [named[name] for name in content.verdict]
        found.legends[f'{theme}verdict'] = [(name, named[name], _SIGNS[0]) for name in VERDICTS]
        if content.labels is not None:
            own = {name: palette[at % len(palette)] for at, name in enumerate(classes)}
            found.columns[f'{theme}class'] = [own[name] for name in content.labels]
            found.legends[f'{theme}class'] = [
                (name, own[name], _SIGNS[kinds[name]]) for name in classes[:_MOST_NAMES]
            ]
    labels = content.labels or [None] * len(content.index)
    return found._replace(markers=[_MARKERS[kinds.get(label or '', 0)] for label in labels])


def models(content: Content, sheet: Sheet | None, colours: Colours) -> dict[str, Any]:
    """The Bokeh models by the part of the page that they belong to."""
    n = len(content.index)
    per_row = sheet.columns if sheet else 1
    data = {
        'x': content.place[:, 0].astype(np.float32),
        'y': content.place[:, 1].astype(np.float32),
        'column': np.arange(n) % per_row,
        'line': np.arange(n) // per_row,
        'row': np.arange(n),
        'index': content.index,
        'score': content.score.astype(np.float32),
        'label': list(content.labels or [''] * n),
        'file': list(content.files or [''] * n),
        'verdict': list(content.verdict),
        'marker': colours.markers,
        **{f'by_{name}': column for name, column in colours.columns.items()},
    }
    source = ColumnDataSource(data, name='source')
    return {
        'controls': _controls(content, colours),
        'map': _map(source, sheet),
        'histogram': _histogram(content.score),
        'table': _table(content, data, sheet),
    }


def _controls(content: Content, colours: Colours) -> Any:
    first = 'class' if content.labels is not None else 'score'
    shown: list[Any] = sorted(name for name in colours.columns if not name.startswith('dark '))
    widgets: list[Any] = [
        Select(title='Colour', value=first, options=shown, name='colour'),
        RangeSlider(
            title='Score',
            start=0,
            end=1,
            value=(0, 1),
            step=0.01,
            name='range',
        ),
        MultiSelect(title='Verdicts (none: all)', options=list(VERDICTS), size=5, name='verdicts'),
    ]
    if content.labels is not None:
        classes: list[Any] = sorted(set(content.labels))
        widgets.append(
            MultiSelect(
                title='Classes (none: all)',
                options=classes,
                size=min(8, len(classes)),
                name='classes',
            )
        )
    if content.files is not None:
        widgets.append(TextInput(title='Text in the file name', name='text'))
    for widget in widgets:
        widget.stylesheets = [InlineStyleSheet(css=_INPUT)]
    return column(*widgets, sizing_mode='stretch_width')


def _figure(title: str, **options: Any) -> Any:
    plot: Any = figure(
        title=title,
        sizing_mode='stretch_width',
        background_fill_color=None,
        border_fill_color=None,
        toolbar_location='above',
        **options,
    )
    plot.toolbar.logo = None
    for axis in plot.axis:
        axis.update(
            axis_label_text_color=_AXIS,
            major_label_text_color=_AXIS,
            axis_line_color=_AXIS,
            major_tick_line_color=_AXIS,
            minor_tick_line_color=None,
        )
    for grid in plot.grid:
        grid.update(grid_line_color=_AXIS, grid_line_alpha=0.25)
    plot.title.text_color = _AXIS
    plot.outline_line_color = None
    return plot


def _map(source: ColumnDataSource, sheet: Sheet | None) -> Any:
    plot = _figure(
        'Map: click a sample, or draw around some with the lasso',
        height=520,
        tools='pan,wheel_zoom,lasso_select,tap,reset',
        active_drag='lasso_select',
        active_scroll='wheel_zoom',
        output_backend='webgl',
    )
    plot.axis.visible = False
    shown = BooleanFilter(booleans=[True] * len(source.data['x']), name='shown')
    renderer = plot.scatter(
        'x',
        'y',
        source=source,
        view=CDSView(filter=shown),
        marker='marker',
        size=7,
        fill_color='by_class' if 'by_class' in source.data else 'by_score',
        line_color=None,
        fill_alpha=0.75,
        nonselection_fill_alpha=0.12,
        name='points',
    )
    picture = '' if sheet is None else _picture(sheet, _HOVER, '@column', '@line')
    words = '<b>@label</b> @verdict<br>score @score{0.000}<br>index @index @file'
    tips = f'<div style="display:flex;gap:8px;align-items:center">{picture}<div>{words}</div></div>'
    plot.add_tools(HoverTool(tooltips=tips, renderers=[renderer], limit=1))
    return plot


def _picture(sheet: Sheet, side: int, column: str, line: str) -> str:
    return (
        f'<div style="width:{side}px;height:{side}px;flex:none;image-rendering:pixelated;'
        f'background-image:var(--sprites);'
        f'background-size:{sheet.columns * side}px {sheet.rows * side}px;'
        f'background-position:calc(-{side}px * {column}) calc(-{side}px * {line})"></div>'
    )


def _histogram(score: np.ndarray) -> Any:
    counts, edges = np.histogram(score, bins=_BINS, range=(0, 1))
    plot = _figure('Scores: drag to choose a range', height=150, tools='', x_range=(0, 1))
    plot.yaxis.visible = False
    plot.quad(
        left=edges[:-1], right=edges[1:], bottom=0, top=counts, fill_color=BLUE, line_color=None
    )
    plot.y_range.start = 0
    brush = BoxSelectTool(dimensions='width')
    plot.add_tools(brush)
    plot.toolbar.active_drag = brush
    plot.toolbar_location = None
    plot.name = 'histogram'
    return plot


def _table(content: Content, data: dict[str, Any], sheet: Sheet | None) -> DataTable:
    columns = [
        TableColumn(field='index', title='Index', width=60, formatter=NumberFormatter(format='0')),
        TableColumn(
            field='score', title='Score', width=60, formatter=NumberFormatter(format='0.000')
        ),
        TableColumn(field='verdict', title='Verdict', width=110, formatter=StringFormatter()),
    ]
    if content.labels is not None:
        columns.append(TableColumn(field='label', title='Class', formatter=StringFormatter()))
    if content.files is not None:
        columns.append(TableColumn(field='file', title='File', formatter=StringFormatter()))
    if sheet is not None:
        template = _picture(sheet, _ROW, '<%= column %>', '<%= line %>')
        formatter = HTMLTemplateFormatter(template=template)
        columns.insert(
            0,
            TableColumn(field='row', title='', width=40, sortable=False, formatter=formatter),
        )
    kept = ('row', 'column', 'line', 'index', 'score', 'label', 'file', 'verdict')
    order = np.argsort(-content.score, kind='stable')
    first = {name: np.asarray(data[name])[order] for name in kept}
    source = ColumnDataSource(first, name='rows')
    return DataTable(
        source=source,
        columns=columns,
        row_height=_ROW + 8,
        height=420,
        index_position=None,
        sizing_mode='stretch_width',
        stylesheets=[InlineStyleSheet(css=_GRID)],
        name='table',
    )
