"""Tables as LaTeX, and figures as SVG and PDF by matplotlib."""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from contrastive_jax.reporting.entries import Entry, Table, numbered_name
from contrastive_jax.reporting.pictures import Curve, Dots, Picture, pictures_of
from contrastive_jax.reporting.statistics import Cell
from contrastive_jax.reporting.style import DASH, FIGURE, LIGHT, dashes_of
from contrastive_jax.reporting.tables import Report

__all__ = ['paper_files']

_STYLE = {
    **FIGURE,
    'font.size': 9,
    # Fonts that can be searched and edited.
    'pdf.fonttype': 42,
    # Equal reports give equal files.
    'svg.hashsalt': 'contrastive_jax',
}
_WIDTH, _NAME = 4.8, 60
_LATEX = str.maketrans(
    {
        **{character: f'\\{character}' for character in '&%$#_{}'},
        '\\': r'\textbackslash{}',
        '~': r'\textasciitilde{}',
        '^': r'\textasciicircum{}',
        '<': r'\textless{}',
        '>': r'\textgreater{}',
        '|': r'\textbar{}',
        '±': r'\ensuremath{\pm}',
        '—': '---',
        # A bracket after `\\` would be an option of it.
        '[': '{[}',
        ']': '{]}',
    }
)


def paper_files(report: Report, cells: Sequence[Cell]) -> dict[str, Callable[[], bytes]]:
    """The files by their names, each as a function that makes its content.

    The names are there at once, and drawing takes seconds: so they can be checked before.

    Args:
      report: the tables; each becomes `table_TITLE.tex`.
      cells: the cells to draw; each figure becomes `figure_NAME.svg` and `figure_NAME.pdf`.

    Returns:
      For each name a function that returns the bytes of the file.
    """
    files: dict[str, Callable[[], bytes]] = {}
    for table in (*report.results, *report.details):
        files[_free(f'table_{_plain(table.title)}', files) + '.tex'] = partial(_latex, table)
    names = [_shortened(numbered_name(index, cell)) for index, cell in enumerate(cells)]
    for picture in pictures_of(cells):
        stem = _free(f'figure_{_plain(picture.name)}', files)
        for kind, date in (('svg', 'Date'), ('pdf', 'CreationDate')):
            files[f'{stem}.{kind}'] = partial(_drawn, picture, names, kind, date)
    return files


def _plain(text: str) -> str:
    """A part of a file name, whatever the text holds."""
    return re.sub(r'[^a-z0-9]+', '_', text.lower()).strip('_')[:_NAME]


def _free(stem: str, files: Iterable[str]) -> str:
    """The stem, with a number where another file has it already."""
    taken = {name.rpartition('.')[0] for name in files}
    numbered = (f'{stem}_{number}' for number in range(2, len(taken) + 3))
    return next(name for name in (stem, *numbered) if name not in taken)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + '…'


def _latex(table: Table) -> bytes:
    aligned = ''.join('r' if _numeric(column) else 'l' for column in zip(*table.rows, strict=True))
    rows = ('  ' + ' & '.join(_escaped(e.text) for e in row) + r' \\' for row in table.rows)
    head = ' & '.join(map(_escaped, table.columns))
    lines = (
        f'% {table.title}. {table.note}'.rstrip(),
        r'% Needs \usepackage{booktabs}.',
        rf'\begin{{tabular}}{{{aligned}}}',
        r'  \toprule',
        rf'  {head} \\',
        r'  \midrule',
        *rows,
        r'  \bottomrule',
        r'\end{tabular}',
    )
    return ('\n'.join(lines) + '\n').encode()


def _escaped(text: str) -> str:
    # A hyphen before a number is its sign.
    return re.sub(r'(?<![\w.-])-(?=\d)', r'\\ensuremath{-}', text.translate(_LATEX))


def _numeric(column: Sequence[Entry]) -> bool:
    """Whether a column holds numbers, some of which may be missing."""
    return all(e.cell is None and (e.number is not None or e.text == DASH) for e in column)


def _drawn(picture: Picture, names: Sequence[str], kind: str, date: str) -> bytes:
    """The figure as a file of this kind, without the date that matplotlib calls `date`."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings('ignore', message='Glyph')
        height = 0.8 + 0.42 * len(names) if picture.dots else 3.2
        figure = Figure(figsize=(_WIDTH, height + 0.18 * len(names)), layout='constrained')
        axes = figure.subplots()
        for dots in picture.dots:
            _draw_dots(axes, dots)
        for curve in picture.curves:
            _draw_curve(axes, curve)
        axes.set(xlabel=picture.x_label, ylabel=picture.y_label)
        axes.yaxis.label.set_parse_math(False)
        if picture.dots:
            axes.set(ylim=(len(names) - 0.4, -0.5), yticks=range(len(names)))
            axes.set_yticklabels([str(index + 1) for index in range(len(names))])
            axes.grid(visible=False, axis='y')
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _add_legend(figure, names)
        file = io.BytesIO()
        figure.savefig(file, format=kind, metadata={date: None})
        return file.getvalue()


def _look(cell: int) -> dict:
    dashes = dashes_of(cell)
    style = (0, tuple(dashes)) if dashes else '-'
    return {'color': LIGHT[cell % len(LIGHT)], 'linestyle': style, 'linewidth': 1.6}


def _draw_dots(axes: Axes, dots: Dots) -> None:
    """Mean and standard deviation as a bar, and each seed as a dot below it."""
    look, summary = _look(dots.cell), dots.summary
    axes.errorbar(summary.mean, dots.cell, xerr=summary.std, marker='|', markersize=14, **look)
    axes.plot(dots.values, dots.heights(), 'o', ms=3.5, mew=0, color=look['color'])


def _draw_curve(axes: Axes, curve: Curve) -> None:
    """The mean as a line, with a band of one standard deviation."""
    look = _look(curve.cell)
    axes.plot(curve.epochs, curve.mean, marker='.' if len(curve.epochs) == 1 else '', **look)
    if curve.std is not None:
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axes.fill_between(curve.epochs, low, high, color=look['color'], alpha=0.2, linewidth=0)


def _add_legend(figure: Figure, names: Sequence[str]) -> None:
    lines = [Line2D([], [], **_look(cell)) for cell in range(len(names))]
    legend = figure.legend(lines, names, loc='outside lower left', fontsize=8)
    for text in legend.get_texts():
        # A dollar sign in a name starts no formula.
        text.set_parse_math(False)
