"""Tables of a report, their entries, and the texts that several tables share."""

from collections.abc import Sequence
from typing import NamedTuple

from contrastive_jax.reporting.statistics import Cell, Summary, by_seed, summarise
from contrastive_jax.reporting.style import DASH

__all__ = [
    'SPREAD_NOTE',
    'Entry',
    'Table',
    'counted',
    'head',
    'head_columns',
    'listed_numbers',
    'mean_and_deviation',
    'mean_of',
    'mean_over',
    'name_of',
    'numbered_name',
    'short',
]

SPREAD_NOTE = 'Mean ± standard deviation over the seeds (n - 1 in its denominator), in brackets n.'


class Entry(NamedTuple):
    """One entry of a table.

    Attributes:
      text: the text to show.
      number: the number to sort by; None for a text, or where there is no number.
      cell: index of the cell whose colour is shown beside the text, or None.
    """

    text: str
    number: float | None = None
    cell: int | None = None


class Table(NamedTuple):
    """One table, with a note on how to read it."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Entry, ...]]


def head_columns(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Titles of the columns of `head`."""
    return ('cell', 'changes') if _titled(cells) else ('cell',)


def head(index: int, cells: Sequence[Cell]) -> tuple[Entry, ...]:
    """Number and name of a cell; if grids name the cells, also what the cell changes."""
    name = name_of(index, cells)
    return (name, Entry(cells[index].name)) if _titled(cells) else (name,)


def name_of(index: int, cells: Sequence[Cell]) -> Entry:
    """Number and name of a cell."""
    return Entry(numbered_name(index, cells[index]), index, index)


def numbered_name(index: int, cell: Cell) -> str:
    """Number and name of a cell: the name that a grid gives it, or what it changes."""
    return f'{index + 1}: {cell.title or cell.name}'


def _titled(cells: Sequence[Cell]) -> bool:
    return any(cell.title for cell in cells)


def short(index: int) -> Entry:
    """Number of a cell that an earlier table has named."""
    return Entry(str(index + 1), index, index)


def mean_of(cell: Cell, name: str, scale: int = 1, digits: int = 2) -> Entry:
    """Mean, deviation and count of a result over the seeds of a cell."""
    return mean_over(list(by_seed(cell, name).values()), scale, digits)


def mean_over(values: Sequence[float], scale: int = 1, digits: int = 2) -> Entry:
    """Mean, deviation and count of some values."""
    summary = summarise([scale * value for value in values])
    return (
        Entry(DASH) if summary is None else Entry(mean_and_deviation(summary, digits), summary.mean)
    )


def mean_and_deviation(summary: Summary, digits: int) -> str:
    """Mean ± deviation (count)."""
    std = '' if summary.std is None else f' ± {summary.std:.{digits}f}'
    return f'{summary.mean:.{digits}f}{std} ({summary.n})'


def counted(number: int, what: str) -> str:
    """A number and what it counts, in the plural where it is not one."""
    return f'{number} {what}' + ('' if number == 1 else 's')


def listed_numbers(what: str, indices: Sequence[int]) -> str:
    """Things by their numbers, which count from 1."""
    return f'{what}{"" if len(indices) == 1 else "s"} {", ".join(str(i + 1) for i in indices)}'
