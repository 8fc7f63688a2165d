"""The parts of an atlas that Bokeh draws: map, histogram, filters and table.

`atlas.js` finds them by their names, and fills the bars, the colours and the rows of the table.
"""

from typing import Any

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

from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.reporting.atlas.content import Content
from contrastive_jax.reporting.atlas.sprites import Sheet
from contrastive_jax.reporting.plots import plot
from contrastive_jax.reporting.style import BLUE, LIGHT, NEUTRAL, SCORE, pattern

__all__ = ['page_models']

_HOVER, _ROW = 72, 28
_SCORE = pattern(SCORE)
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


def page_models(content: Content, sheet: Sheet | None) -> dict[str, Any]:
    """The Bokeh models by the part of the page that they belong to."""
    n = len(content.index)
    per_row = sheet.columns if sheet else 1
    kinds = {
        name: _MARKERS[at // len(LIGHT) % len(_MARKERS)]
        for at, name in enumerate(content.classes())
    }
    labels = list(content.labels or [''] * n)
    data = {
        'x': content.place[:, 0].astype(np.float32),
        'y': content.place[:, 1].astype(np.float32),
        'column': np.arange(n) % per_row,
        'line': np.arange(n) // per_row,
        'row': np.arange(n),
        'index': content.index,
        'number': content.numbers['score'].astype(np.float32),
        'label': labels,
        'file': list(content.files or [''] * n),
        'verdict': list(content.verdict),
        'marker': [kinds.get(label, _MARKERS[0]) for label in labels],
        'colour': [NEUTRAL] * n,
    }
    return {
        'controls': _controls(content),
        'map': _map(ColumnDataSource(data, name='source'), sheet),
        'histogram': _histogram(),
        'table': _table(content, list(data), sheet),
    }


def _controls(content: Content) -> Any:
    colours: list[Any] = ['number', 'verdict']
    if content.labels is not None:
        colours.insert(0, 'class')
    numbers: list[Any] = list(content.numbers)
    widgets: list[Any] = [
        Select(title='Colour by', value=colours[0], options=colours, name='colour'),
        Select(title='Number', value='score', options=numbers, name='number'),
        # `atlas.js` sets the ends.
        RangeSlider(title='Range', start=0, end=1, value=(0, 1), step=0.01, name='range'),
        MultiSelect(title='Verdicts (none: all)', options=list(VERDICTS), size=5, name='verdicts'),
    ]
    if content.labels is not None:
        classes: list[Any] = content.classes()
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


def _map(source: ColumnDataSource, sheet: Sheet | None) -> Any:
    made = plot(
        title='Map: click a sample, or draw around some with the lasso',
        height=520,
        tools='pan,wheel_zoom,lasso_select,tap,reset',
        active_drag='lasso_select',
        active_scroll='wheel_zoom',
        output_backend='webgl',
    )
    made.name = 'map'
    made.axis.visible = False
    shown = BooleanFilter(booleans=[True] * len(source.data['x']), name='shown')
    renderer = made.scatter(
        'x',
        'y',
        source=source,
        view=CDSView(filter=shown),
        marker='marker',
        size=7,
        fill_color='colour',
        line_color=None,
        fill_alpha=0.75,
        nonselection_fill_alpha=0.12,
    )
    picture = '' if sheet is None else _picture(sheet, _HOVER, '@column', '@line')
    words = f'<b>@label</b> @verdict<br>@number{{{_SCORE}}}<br>index @index @file'
    tips = f'<div style="display:flex;gap:8px;align-items:center">{picture}<div>{words}</div></div>'
    made.add_tools(HoverTool(tooltips=tips, renderers=[renderer], limit=1))
    return made


def _picture(sheet: Sheet, side: int, column: str, line: str) -> str:
    return (
        f'<div style="width:{side}px;height:{side}px;flex:none;image-rendering:pixelated;'
        f'background-image:var(--sprites);'
        f'background-size:{sheet.columns * side}px {sheet.rows * side}px;'
        f'background-position:calc(-{side}px * {column}) calc(-{side}px * {line})"></div>'
    )


def _histogram() -> Any:
    made = plot(title='Drag to choose a range', height=150, tools='', x_range=(0, 1))
    made.yaxis.visible = False
    only = {'left': [0.0], 'right': [1.0], 'top': [1.0], 'colour': [BLUE]}
    bars = ColumnDataSource(only, name='bars')
    made.quad(
        left='left', right='right', bottom=0, top='top', source=bars,
        fill_color='colour', line_color=None,
    )  # fmt: skip
    made.y_range.start = 0
    brush = BoxSelectTool(dimensions='width')
    made.add_tools(brush)
    made.toolbar.active_drag = brush
    made.toolbar_location = None
    made.name = 'histogram'
    return made


def _table(content: Content, fields: list[str], sheet: Sheet | None) -> DataTable:
    columns = [
        TableColumn(field='index', title='Index', width=60, formatter=NumberFormatter(format='0')),
        TableColumn(
            field='number', title='score', width=80, formatter=NumberFormatter(format=_SCORE)
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
    drawn_only = ('x', 'y', 'marker', 'colour')
    nothing: dict[str, Any] = {name: [] for name in fields if name not in drawn_only}
    return DataTable(
        source=ColumnDataSource(nothing, name='rows'),
        columns=columns,
        row_height=_ROW + 8,
        height=420,
        index_position=None,
        reorderable=False,
        sizing_mode='stretch_width',
        stylesheets=[InlineStyleSheet(css=_GRID)],
        name='table',
    )
