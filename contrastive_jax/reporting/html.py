"""The report as one HTML page that needs no other file."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from contrastive_jax.reporting.collect import MEASURES, MONITOR
from contrastive_jax.reporting.entries import Entry, Table, label
from contrastive_jax.reporting.figures import draw_curves, draw_dots
from contrastive_jax.reporting.statistics import Cell
from contrastive_jax.reporting.style import DARK, DASHES, LIGHT
from contrastive_jax.reporting.tables import Report

__all__ = ['page']

_CURVES = {
    'loss': 'Loss',
    'different_class_share': 'Share of the selected pairs that truly differ in class',
    f'{MONITOR}knn': 'Monitor: test accuracy of 20 nearest neighbours',
    f'{MONITOR}rank': 'Monitor: directions that the features use (RankMe)',
    f'{MONITOR}alignment': 'Monitor: alignment of two views, low is good',
    f'{MONITOR}uniformity': 'Monitor: uniformity, low is even',
    f'{MONITOR}alpha': 'Monitor: alpha, mean cosine of pairs of one class',
    f'{MONITOR}gamma': 'Monitor: gamma, mean cosine of difficult pairs',
    f'{MONITOR}beta': 'Monitor: beta, mean cosine of easy pairs',
    f'{MONITOR}ordered': 'Monitor: whether beta < gamma < alpha',
    f'{MONITOR}band_purity': 'Monitor: share of the pairs in the band that truly differ in class',
}
_SHORT = 30


def _variables(colours: Sequence[str]) -> str:
    return ''.join(f'--cell-{index}:{colour};' for index, colour in enumerate(colours))


_STYLE = (
    f"""
:root {{
  color-scheme: light dark;
  --ground: #ffffff; --ink: #1b1d1f; --faint: #5c6166; --rule: #d5d8db; --link: #005fa3;
  {_variables(LIGHT)}
}}
@media (prefers-color-scheme: dark) {{ :root {{
  --ground: #15181b; --ink: #e4e6e8; --faint: #a3a9af; --rule: #3a3f44; --link: #7cc0f5;
  {_variables(DARK)}
}} }}
"""
    + """
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 76rem; overflow-wrap: anywhere;
  background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
}
h1 { margin: 0.5rem 0; font-size: 1.6rem; }
h2, summary { margin: 2rem 0 0.25rem; font-size: 1.15rem; font-weight: 600; }
summary { cursor: pointer; }
summary h2 { display: inline; }
p { margin: 0.25rem 0 0.5rem; max-width: 45rem; }
.note { color: var(--faint); font-size: 0.875rem; }
figcaption { font-size: 0.875rem; font-weight: 600; }
.scroll { overflow-x: auto; border-block: 1px solid var(--rule); }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; text-align: left; vertical-align: top; }
tbody tr { border-top: 1px solid var(--rule); }
tbody th { font-weight: 400; }
.short { white-space: nowrap; }
.long { min-width: 12rem; max-width: 24rem; }
th button {
  padding: 0; border: 0; background: none; color: inherit; font: inherit; font-weight: 600;
  text-align: left; white-space: nowrap; cursor: pointer;
}
th button::after { content: '\\2195' / ''; padding-left: 0.3em; color: var(--faint); }
th[aria-sort=ascending] button::after { content: '\\2191' / ''; color: inherit; }
th[aria-sort=descending] button::after { content: '\\2193' / ''; color: inherit; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.swatch { width: 1.5rem; height: 0.5rem; margin-right: 0.4rem; vertical-align: middle; }
ul.legend { padding: 0; list-style: none; font-size: 0.875rem; }
.figures { display: grid; gap: 1rem 2rem; }
.figures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; max-width: 36rem; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: system-ui, sans-serif !important; fill: currentColor !important; }
@media print { .scroll { overflow: visible; } }
"""
)

# Numbers sort as numbers, and missing ones come last in either order.
_SCRIPT = """
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const head = button.closest('th'), body = head.closest('table').tBodies[0];
    const up = head.getAttribute('aria-sort') !== 'ascending';
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const entry = (row) => row.cells[head.cellIndex];
    const number = (row) => parseFloat(entry(row).dataset.number);
    const compare = (a, b) => {
      const x = number(a), y = number(b);
      if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
      const order = isNaN(x) ? entry(a).textContent.localeCompare(entry(b).textContent) : x - y;
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
"""


def page(report: Report, cells: Sequence[Cell]) -> str:
    """The whole page, which shows everything that comes from a file as text.

    Args:
      report: the tables.
      cells: the cells to draw.
    """
    problems = ''.join(f'<li>{escape(line)}</li>' for line in report.problems)
    parts = (
        '<h1>Contrastive pre-training: report</h1>',
        f'<p>{escape(report.summary)}</p>',
        f'<p>Not in the numbers:</p><ul>{problems}</ul>' if problems else '',
        *map(_section, report.results),
        _figures(cells),
        *map(_folded, report.details),
    )
    content = '\n'.join(filter(None, parts))
    # In case markup is left in a text: no other script runs, and nothing is fetched.
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>Contrastive pre-training: report</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{content}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


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
    dashes = ' '.join(map(str, DASHES[cell // len(LIGHT) % len(DASHES)]))
    return (
        '<svg class="swatch" viewBox="0 0 24 8" aria-hidden="true"><path d="M0 4h24" '
        f'stroke="var(--cell-{cell % len(LIGHT)})" stroke-width="4" stroke-dasharray="{dashes}"/>'
        '</svg>'
    )


def _figures(cells: Sequence[Cell]) -> str:
    drawn = [
        *(
            (f'Test accuracy: {title}', draw_dots(cells, name, 'test accuracy, %'))
            for name, title in MEASURES.items()
        ),
        *(
            (_CURVES.get(name, name), draw_curves(cells, name, _label(name)))
            for name in _curves_of(cells)
        ),
    ]
    figures = ''.join(_figure(title, svg) for title, svg in drawn if svg)
    if not figures:
        return ''
    legend = ''.join(
        f'<li>{_swatch(index)}{escape(label(index, cell))}</li>' for index, cell in enumerate(cells)
    )
    return f"""<section><h2>Figures</h2>
<p class="note">Accuracies: each seed is a dot; the bar is mean ± standard deviation. Curves: mean
over the seeds of finished runs, steps averaged within each epoch; the band is ± one standard
deviation. A treatment changes the loss itself: compare courses, not heights.</p>
<ul class="legend">{legend}</ul>
<div class="figures">{figures}</div></section>"""


def _curves_of(cells: Sequence[Cell]) -> list[str]:
    """Names of all curves, those with a title of ours first."""
    found = {name for cell in cells for run in cell.runs for name in run.curves}
    return [*(name for name in _CURVES if name in found), *sorted(found - _CURVES.keys())]


def _label(name: str) -> str:
    return name.removeprefix(MONITOR).replace('_', ' ')


def _figure(title: str, svg: str) -> str:
    labelled = svg.replace('<svg', f'<svg role="img" aria-label="{escape(title)}"', 1)
    return f'<figure><figcaption>{escape(title)}</figcaption>{labelled}</figure>'
