"""What tables of a report are made of: their entries, and the texts that several of them share."""

from collections.abc import Sequence
from typing import NamedTuple

from contrastive_jax.reporting.statistics import Cell, Summary, by_seed, summarise

__all__ = [
    'DASH',
    'SPREAD',
    'Entry',
    'Table',
    'counted',
    'head',
    'mean_of',
    'numbered',
    'short',
    'spread',
]

DASH = '—'
SPREAD = 'Mean ± standard deviation over the seeds (n - 1 in its denominator), in brackets n.'


class Entry(NamedTuple):
    """One place of a table.

    Attributes:
      text: shown.
      number: to sort by; None for a text, or where there is no number.
      cell: whose colour stands beside it.
    """

    text: str
    number: float | None = None
    cell: int | None = None


class Table(NamedTuple):
    """One table with what a reader must know to read it."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[Entry, ...]]


def head(place: int, cell: Cell) -> Entry:
    """Number and name of a cell."""
    return Entry(f'{place + 1}: {cell.name}', place, place)


def short(place: int) -> Entry:
    """Number of a cell that an earlier table has named."""
    return Entry(str(place + 1), place, place)


def mean_of(cell: Cell, name: str, scale: int = 1, digits: int = 2) -> Entry:
    """Mean, deviation and count of a result over the seeds of a cell."""
    found = summarise([scale * value for value in by_seed(cell, name).values()])
    return Entry(DASH) if found is None else Entry(spread(found, digits), found.mean)


def spread(found: Summary, digits: int) -> str:
    """Mean ± deviation (count)."""
    std = '' if found.std is None else f' ± {found.std:.{digits}f}'
    return f'{found.mean:.{digits}f}{std} ({found.n})'


def counted(number: int, what: str) -> str:
    """A number and what it counts, in the plural where it is not one."""
    return f'{number} {what}' + ('' if number == 1 else 's')


def numbered(what: str, places: Sequence[int]) -> str:
    """Things by their numbers, which count from 1."""
    return f'{what}{"" if len(places) == 1 else "s"} {", ".join(str(p + 1) for p in places)}'
