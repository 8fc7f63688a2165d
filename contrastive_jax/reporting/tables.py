"""The tables of a report, which Markdown and HTML share."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from contrastive_jax.reporting.choice import Choice
from contrastive_jax.reporting.collect import MEASURES, SELECTED_BY, VALIDATION, Run
from contrastive_jax.reporting.details import detail_tables
from contrastive_jax.reporting.entries import (
    SPREAD_NOTE,
    Entry,
    Table,
    counted,
    head,
    head_columns,
    listed_numbers,
    mean_of,
    name_of,
    short,
)
from contrastive_jax.reporting.statistics import (
    ABSENT,
    LEAST_PAIRS,
    Cell,
    Difference,
    accuracy_resolution,
    as_number,
    by_seed,
    common_baseline,
    differing,
    holm,
    is_plain,
    paired,
    same_images,
)
from contrastive_jax.reporting.style import CHANGE, DASH

__all__ = ['Report', 'make_report']

# Chance that any cell without a difference is said to differ.
_ERROR = 0.05


class Report(NamedTuple):
    """The content of a report.

    Attributes:
      summary: one sentence that counts the runs by status.
      problems: one line for each run that is not in the numbers.
      results: tables of results, which name the cells.
      details: tables for reference.
    """

    summary: str
    problems: list[str]
    results: list[Table]
    details: list[Table]


def make_report(
    runs: Sequence[Run],
    cells: Sequence[Cell],
    baselines: Sequence[int],
    choice: Choice | None = None,
) -> Report:
    """Makes the summary and all tables.

    Args:
      runs: all runs.
      cells: the groups of runs.
      baselines: index of the cell that each cell is compared with.
      choice: the cell chosen by validation accuracy, or None.

    Returns:
      The summary, the runs that are not in the numbers, and the tables that are not empty.
    """
    counts = Counter(run.status for run in runs)
    states = ', '.join(
        f'{counts[name]} {name}' for name in ('finished', 'unfinished', 'damaged') if counts[name]
    )
    return Report(
        f'{counted(len(runs), "run")} in {counted(len(cells), "cell")}: {states}.',
        [f'{run.folder}: {run.status} ({run.note})' for run in runs if run.status != 'finished'],
        _filled(
            _chosen(cells, choice),
            _cells(cells, baselines),
            _accuracies(cells),
            _validation(cells),
            _differences(cells, baselines),
        ),
        _filled(*detail_tables(runs, cells)),
    )


def _filled(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]


def _cells(cells: Sequence[Cell], baselines: Sequence[int]) -> Table:
    """The fields in which cells differ, and the seeds of each cell."""
    # `group` makes cells of runs that have a seed.
    seeds = sorted({run.seed for cell in cells for run in cell.runs if run.seed is not None})
    names = differing([cell.fields for cell in cells])
    rows = [
        (
            short(index),
            *(_value(cell.fields.get(name, ABSENT)) for name in names),
            Entry(_seeds(cell, seeds)),
        )
        for index, cell in enumerate(cells)
    ]
    note = 'Runs that differ in nothing but the seed. Only finished runs are in the numbers.'
    if len(cells) > 1:
        common = common_baseline(baselines)
        note += f' Cell {common + 1} is the baseline; changes are those of the others to it.'
        if not any(map(is_plain, cells)):
            note += ' No cell is untreated; --baseline chooses another.'
    return Table('Cells', note, ('cell', *names, 'seeds'), rows)


def _value(text: str) -> Entry:
    number = as_number(text)
    return Entry(text, None if math.isnan(number) else number)


def _accuracies(cells: Sequence[Cell]) -> Table:
    rows = [
        (*head(index, cells), *(mean_of(cell, name, 100) for name in MEASURES))
        for index, cell in enumerate(cells)
    ]
    note = f'{SPREAD_NOTE} {DASH}: not measured.'
    return Table('Test accuracy, %', note, (*head_columns(cells), *MEASURES.values()), rows)


def _validation(cells: Sequence[Cell]) -> Table:
    """The accuracies to choose by; without rows if no run has them."""
    rows = [
        (short(index), *(mean_of(cell, name, 100) for name in VALIDATION))
        for index, cell in enumerate(cells)
    ]
    measured = any(entry.number is not None for row in rows for entry in row[1:])
    note = (
        'On training images that the probes were not fitted on. Choose settings by these, with '
        f'--select, and report the test accuracies of what was chosen. {SPREAD_NOTE}'
    )
    return Table(
        'Validation accuracy, %', note, ('cell', *VALIDATION.values()), rows if measured else []
    )


def _chosen(cells: Sequence[Cell], choice: Choice | None) -> Table:
    """The cell that `--select` chose; without rows if the flag was not given."""
    title = 'Chosen by validation accuracy, %'
    tested = (f'test, {name}' for name in MEASURES.values())
    columns = (*head_columns(cells), 'validation, linear', *tested)
    if choice is None:
        return Table(title, '', columns, [])
    cell = cells[choice.cell]
    measured = (mean_of(cell, name, 100) for name in (SELECTED_BY, *MEASURES))
    row = (*head(choice.cell, cells), *measured)
    compared = len(cells) - len(choice.skipped)
    note = (
        f'The highest mean validation accuracy of {counted(compared, "cell")}; test accuracies had '
        f'no say. {SPREAD_NOTE}'
    )
    if choice.tied:
        note += f' As high, and later in the order: {listed_numbers("cell", choice.tied)}.'
    if choice.skipped:
        note += f' Not compared, for no run is finished: {listed_numbers("cell", choice.skipped)}.'
    if choice.unequal:
        note += ' Not all cells have the same seeds.'
    return Table(title, note, columns, [row])


def _seeds(cell: Cell, seeds: Sequence[int]) -> str:
    """The seeds that are in the numbers, and the status of the others."""
    states = {seed: [run.status for run in cell.runs if run.seed == seed] for seed in seeds}
    words = {
        seed: 'missing' if not some else next((s for s in some if s != 'finished'), '')
        for seed, some in states.items()
    }
    counts = {seed: some.count('finished') for seed, some in states.items()}
    finished = [str(s) + (f' ({n} runs)' if n > 1 else '') for s, n in counts.items() if n]
    others = [f'{seed} {word}' for seed, word in words.items() if word]
    return '; '.join(filter(None, (' '.join(finished), ', '.join(others))))


def _differences(cells: Sequence[Cell], baselines: Sequence[int]) -> Table:
    def against(cell: Cell, reference: Cell, name: str) -> Difference | None:
        if not same_images(cell, reference):
            return None
        values, base = (
            {s: 100 * v for s, v in by_seed(c, name).items()} for c in (cell, reference)
        )
        return paired(values, base, 100 * accuracy_resolution((cell, reference)))

    by_cell = {
        index: {name: against(cell, cells[at], name) for name in MEASURES}
        for index, (cell, at) in enumerate(zip(cells, baselines, strict=True))
        if index != at
    }
    several = len({baselines[index] for index in by_cell}) > 1
    beyond = _beyond_chance(by_cell)
    rows = [
        (
            name_of(index, cells),
            *([short(baselines[index])] if several else ()),
            *map(_interval, differences.values()),
            Entry(beyond[index]),
        )
        for index, differences in by_cell.items()
    ]
    less = 'the cell beside it' if several else listed_numbers('cell', sorted(set(baselines)))
    note = (
        f'Percentage points, less {less} with the same seed: mean of the pairs [95 % t-interval, '
        'wider by the resolution of one test image where runs record their '
        f'number], in brackets the number of pairs. {DASH}: no interval, of fewer than '
        f'{LEAST_PAIRS} pairs or of equal differences, or no difference, of other images or '
        'without a common seed. The '
        'intervals are not corrected for how many there are; the last column is: it names the '
        'measures that differ beyond chance, by '
        f'the same t-tests with the correction of Holm over the table, at {100 * _ERROR:.0f} %.'
    )
    updates = [set(by_seed(cell, 'steps').values()) for cell in cells]
    # Runs of earlier versions do not say how many they made.
    others = [
        index
        for index, at in enumerate(baselines)
        if updates[index] and updates[at] and updates[index] != updates[at]
    ]
    if others:
        note += (
            f' Not of as many updates as the baseline: {listed_numbers("cell", others)}; see '
            'Images and time. config.steps fixes their number, and config.equal_updates does where '
            'images are removed or dropped.'
        )
    columns = ('cell', *(['less cell'] if several else ()), *MEASURES.values(), 'beyond chance')
    return Table('Difference to the baseline', note, columns, rows)


def _beyond_chance(by_cell: Mapping[int, Mapping[str, Difference | None]]) -> dict[int, str]:
    """The measures in which each cell differs from the baseline beyond chance, with their sign."""
    tests = {
        (index, name): difference.p
        for index, differences in by_cell.items()
        for name, difference in differences.items()
        if difference is not None and difference.p is not None
    }
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))

    def words(index: int, differences: Mapping[str, Difference | None]) -> str:
        if not any((index, name) in tests for name in differences):
            return DASH
        signs = (
            f'{MEASURES[name]} {"+" if difference.mean > 0 else "-"}'
            for name, difference in differences.items()
            if difference is not None and adjusted.get((index, name), 1) <= _ERROR
        )
        return ', '.join(signs) or 'none'

    return {index: words(index, differences) for index, differences in by_cell.items()}


def _interval(difference: Difference | None) -> Entry:
    if difference is None:
        return Entry(DASH)
    ends = (f'{end:{CHANGE}}' for end in difference.interval or ())
    text = f'{difference.mean:{CHANGE}} [{", ".join(ends) or DASH}] ({difference.n})'
    return Entry(text, difference.mean)
