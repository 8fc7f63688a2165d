"""The tables as Markdown."""

import html
import re

from contrastive_jax.reporting.entries import Table
from contrastive_jax.reporting.tables import Report

__all__ = ['details', 'results']


def results(report: Report) -> str:
    """The summary, the runs that are not in the numbers, and the tables of results."""
    problems = ''.join(f'- {_escape(line)}\n' for line in report.problems)
    parts = [report.summary + '\n', problems, *map(_table, report.results)]
    return '\n'.join(part for part in parts if part)


def details(report: Report) -> str:
    """The tables to look things up in."""
    return '\n'.join(map(_table, report.details))


def _table(table: Table) -> str:
    """A table whose columns are aligned, so that it reads well as plain text too."""
    lines = [table.columns, *([entry.text for entry in row] for row in table.rows)]
    texts = [[_escape(text) for text in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    texts.insert(1, ['-' * max(3, width) for width in widths])
    rows = (
        '| ' + ' | '.join(t.ljust(w) for t, w in zip(line, widths, strict=True)) + ' |'
        for line in texts
    )
    note = f'{_escape(table.note)}\n\n' if table.note else ''
    return f'## {table.title}\n\n{note}' + '\n'.join(rows) + '\n'


def _escape(text: str) -> str:
    """Escapes names of folders and values, so that they are shown and never followed or run."""
    text = html.escape(text, quote=False)
    return re.sub(r'([\\`*|]|(?<=\])\()', r'\\\1', text)
