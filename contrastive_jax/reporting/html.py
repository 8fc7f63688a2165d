"""The report as one HTML page that needs no other file, and whose tables need no script."""

from collections.abc import Sequence
from html import escape
from importlib import resources

from contrastive_jax.reporting import web
from contrastive_jax.reporting.entries import Entry, Table, numbered_name
from contrastive_jax.reporting.figures import bokeh_figure
from contrastive_jax.reporting.pictures import NOTE, pictures_of
from contrastive_jax.reporting.statistics import Cell
from contrastive_jax.reporting.style import LIGHT, dashes_of
from contrastive_jax.reporting.tables import Report

__all__ = ['report_page']

_TITLE = 'Contrastive pre-training: report'
_SHORT = 30


def report_page(report: Report, cells: Sequence[Cell]) -> str:
    """The whole page, which shows everything that comes from a file as text.

    Args:
      report: the tables.
      cells: the cells to draw.

    Returns:
      The text of an HTML file that needs no other file.
    """
    problems = ''.join(f'<li>{escape(line)}</li>' for line in report.problems)
    scripts, figures = _figures(cells)
    parts = (
        f'<main><h1>{_TITLE}</h1>',
        f'<p>{escape(report.summary)}</p>',
        f'<p>Not in the numbers:</p><ul>{problems}</ul>' if problems else '',
        *map(_section, report.results),
        figures,
        *map(_folded, report.details),
        '</main>',
    )
    own = resources.files(__package__)
    script, style = (
        own.joinpath(f'report.{kind}').read_text(encoding='utf-8') for kind in ('js', 'css')
    )
    return web.page(_TITLE, '\n'.join(filter(None, parts)), [*scripts, script], style)


def _section(table: Table) -> str:
    return f'<section><h2>{escape(table.title)}</h2>{_table(table)}</section>'


def _folded(table: Table) -> str:
    summary = f'<summary><h2>{escape(table.title)}</h2></summary>'
    return f'<details open>{summary}{_table(table)}</details>'


def _table(table: Table) -> str:
    title = escape(table.title)
    head = ''.join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        for name in table.columns
    )
    rows = '\n'.join(map(_row, table.rows))
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ''
    return (
        f'{note}<div class="scroll" role="region" aria-label="{title}" tabindex="0">'
        f'<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    )


def _row(entries: Sequence[Entry]) -> str:
    return f'<tr>{"".join(map(_entry, entries, range(len(entries))))}</tr>'


def _entry(entry: Entry, column: int) -> str:
    number = '' if entry.number is None else f' data-number="{entry.number!r}"'
    content = _swatch(entry.cell) + escape(entry.text)
    kind = 'short' if len(entry.text) < _SHORT else 'long'
    tag, end = ('th scope="row"', 'th') if column == 0 else ('td', 'td')
    return f'<{tag} class="{kind}"{number}>{content}</{end}>'


def _swatch(cell: int | None) -> str:
    """A short piece of the line that a figure draws for a cell."""
    if cell is None:
        return ''
    dashes = ' '.join(map(str, dashes_of(cell)))
    return (
        '<svg class="swatch" viewBox="0 0 24 8" aria-hidden="true"><path d="M0 4h24" '
        f'stroke="var(--cell-{cell % len(LIGHT)})" stroke-width="4" stroke-dasharray="{dashes}"/>'
        '</svg>'
    )


def _figures(cells: Sequence[Cell]) -> tuple[list[str], str]:
    """The scripts that draw the figures, and the figures with one legend for all of them."""
    names = [numbered_name(index, cell) for index, cell in enumerate(cells)]
    drawn = {str(at): picture for at, picture in enumerate(pictures_of(cells))}
    if not drawn:
        return [], ''
    scripts, places = web.embedded(
        {at: bokeh_figure(picture, names) for at, picture in drawn.items()}
    )
    figures = ''.join(
        f'<figure><figcaption>{escape(picture.title)}</figcaption>{places[at]}</figure>'
        for at, picture in drawn.items()
    )
    legend = ''.join(map(_legend_entry, range(len(names)), names))
    section = f"""<section><h2>Figures</h2>
<p class="note">{NOTE} Click a name to hide or show its cell.</p>
<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>
<ul class="legend">{legend}</ul>
<div class="figures">{figures}</div></section>"""
    return scripts, section


def _legend_entry(index: int, name: str) -> str:
    content = _swatch(index) + escape(name)
    return f'<li><button type="button" aria-pressed="true">{content}</button></li>'
