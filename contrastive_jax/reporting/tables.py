"""What a report says, as tables that Markdown and HTML share."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from contrastive_jax.reporting.collect import MEASURES, Run, as_text, is_number
from contrastive_jax.reporting.statistics import (
    ABSENT,
    LEAST_PAIRS,
    Cell,
    Difference,
    Summary,
    accuracy_resolution,
    as_number,
    by_seed,
    differing,
    paired,
    summarise,
)

__all__ = ['DASH', 'Entry', 'Report', 'Table', 'make_report', 'run_rows']

DASH = '—'
_MOST_CLASSES = 20
_REPRESENTATIONS = {'random_encoder': 'untrained encoder', 'raw_pixel': 'raw pixels'}
_SPREAD = 'Mean ± standard deviation over the seeds (n - 1 in its denominator), in brackets n.'


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


class Report(NamedTuple):
    """All that is said.

    Attributes:
      summary: how many runs there are and what became of them.
      problems: one line a run that is not in the numbers.
      results: tables of what was found, which name the cells.
      details: tables to look things up in.
    """

    summary: str
    problems: list[str]
    results: list[Table]
    details: list[Table]


def make_report(runs: Sequence[Run], cells: Sequence[Cell], baseline: int) -> Report:
    """Everything that is said about the runs.

    Args:
      runs: all of them.
      cells: their groups.
      baseline: the place of the cell that the others are compared with.
    """
    counts = Counter(run.status for run in runs)
    states = ', '.join(
        f'{counts[name]} {name}' for name in ('finished', 'unfinished', 'damaged') if counts[name]
    )
    return Report(
        f'{_count(len(runs), "run")} in {_count(len(cells), "cell")}: {states}.',
        [f'{run.folder}: {run.status} ({run.note})' for run in runs if run.status != 'finished'],
        _filled(_cells(cells, baseline), _accuracies(cells), _differences(cells, baseline)),
        _filled(
            _representations(cells),
            _training(cells),
            _runs(runs, cells),
            _origins(runs),
            _settings(runs),
        ),
    )


def _count(number: int, what: str) -> str:
    return f'{number} {what}' + ('' if number == 1 else 's')


def _filled(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]


def _head(place: int, cell: Cell) -> Entry:
    return Entry(f'{place + 1}: {cell.name}', place, place)


def _short(place: int) -> Entry:
    """Of a cell that an earlier table has named."""
    return Entry(str(place + 1), place, place)


def _cells(cells: Sequence[Cell], baseline: int) -> Table:
    """What tells the cells apart, and which seeds each has."""
    seeds = sorted({run.seed for cell in cells for run in cell.runs})
    names = differing([cell.fields for cell in cells])
    rows = [
        (
            _short(place),
            *(_value(cell.fields.get(name, ABSENT)) for name in names),
            Entry(_seeds(cell, seeds)),
        )
        for place, cell in enumerate(cells)
    ]
    note = 'Runs that differ in nothing but the seed. Only finished runs are in the numbers.'
    if len(cells) > 1:
        note += (
            f' Cell {baseline + 1} is the baseline; the others are named by what they change of it.'
        )
    return Table('Cells', note, ('cell', *names, 'seeds'), rows)


def _value(text: str) -> Entry:
    number = as_number(text)
    return Entry(text, None if math.isnan(number) else number)


def _accuracies(cells: Sequence[Cell]) -> Table:
    rows = [
        (
            _head(place, cell),
            *(_mean(cell, name, 100) for name in MEASURES),
        )
        for place, cell in enumerate(cells)
    ]
    note = f'{_SPREAD} {DASH}: not measured.'
    return Table('Test accuracy, %', note, ('cell', *MEASURES.values()), rows)


def _seeds(cell: Cell, seeds: Sequence[int]) -> str:
    """Which seeds are in the numbers, and what became of the others."""
    states = {seed: [run.status for run in cell.runs if run.seed == seed] for seed in seeds}
    words = {
        seed: 'missing' if not some else next((s for s in some if s != 'finished'), '')
        for seed, some in states.items()
    }
    counts = {seed: some.count('finished') for seed, some in states.items()}
    finished = [str(s) + (f' ({n} runs)' if n > 1 else '') for s, n in counts.items() if n]
    others = [f'{seed} {word}' for seed, word in words.items() if word]
    return '; '.join(filter(None, (' '.join(finished), ', '.join(others))))


def _mean(cell: Cell, name: str, scale: int = 1, digits: int = 2) -> Entry:
    found = summarise([scale * value for value in by_seed(cell, name).values()])
    return Entry(DASH) if found is None else Entry(_spread(found, digits), found.mean)


def _spread(found: Summary, digits: int) -> str:
    std = '' if found.std is None else f' ± {found.std:.{digits}f}'
    return f'{found.mean:.{digits}f}{std} ({found.n})'


def _differences(cells: Sequence[Cell], baseline: int) -> Table:
    def against(cell: Cell, name: str) -> Entry:
        values, base = (
            {s: 100 * v for s, v in by_seed(c, name).items()} for c in (cell, reference)
        )
        found = paired(values, base, 100 * accuracy_resolution((cell, reference)))
        return Entry(DASH) if found is None else Entry(_interval(found), found.mean)

    reference = cells[baseline] if cells else None
    rows = [
        (_head(place, cell), *(against(cell, name) for name in MEASURES))
        for place, cell in enumerate(cells)
        if place != baseline
    ]
    note = (
        f'Percentage points, less cell {baseline + 1} of the same seed: mean of the pairs '
        '[95 % t-interval, wider by the resolution of one test image where runs record their '
        f'number], in brackets the number of pairs. {DASH}: no interval, of fewer than '
        f'{LEAST_PAIRS} pairs or of equal differences. The intervals are not corrected for how '
        'many there are.'
    )
    return Table('Difference to the baseline', note, ('cell', *MEASURES.values()), rows)


def _interval(found: Difference) -> str:
    ends = DASH if found.interval is None else '{:+z.2f}, {:+z.2f}'.format(*found.interval)
    return f'{found.mean:+z.2f} [{ends}] ({found.n})'


def _representations(cells: Sequence[Cell]) -> Table:
    """The encoder before training, and the pixels: what the accuracies start from."""
    # The linear ones carry no measure in their name.
    names = ('accuracy', *list(MEASURES)[1:])
    rows = []
    for place, cell in enumerate(cells):
        for who, title in _REPRESENTATIONS.items():
            means = [_mean(cell, f'{who}_{name}', 100) for name in names]
            if any(mean.number is not None for mean in means):
                rows.append((_short(place), Entry(title), *means))
    columns = ('cell', 'representation', *MEASURES.values())
    return Table('Without pre-training: test accuracy, %', _SPREAD, columns, rows)


def _training(cells: Sequence[Cell]) -> Table:
    rows = [
        (
            _short(place),
            _mean(cell, 'removed', digits=0),
            Entry(_by_class(cell)),
            _mean(cell, 'mixed', digits=0),
            _mean(cell, 'pairs_per_second', digits=0),
            _mean(cell, 'seconds', digits=0),
        )
        for place, cell in enumerate(cells)
    ]
    columns = ('cell', 'removed', 'removed by class', 'mixed', 'pairs/s', 'seconds')
    return Table('Images and time', _SPREAD, columns, rows)


def _by_class(cell: Cell) -> str:
    """How many images of each class were removed, if that is the same for all runs."""
    prefix = 'removed_by_class.'
    counts = [
        {k.removeprefix(prefix): v for k, v in run.result.items() if k.startswith(prefix)}
        for run in cell.runs
    ]
    known = [some for some in counts if some and all(map(is_number, some.values()))]
    if not known:
        return DASH
    if any(some != known[0] for some in known):
        return 'differs by run'
    least, most = min(known[0].values()), max(known[0].values())
    if least == most:
        return f'{as_text(most)} each'
    if len(known[0]) > _MOST_CLASSES:
        return f'{as_text(least)} to {as_text(most)}'
    return ', '.join(f'{as_text(name)}: {as_text(value)}' for name, value in known[0].items())


def _runs(runs: Sequence[Run], cells: Sequence[Cell]) -> Table:
    places = _places(cells)
    rows = []
    for run in runs:
        place = places.get(run.folder)
        seed = DASH if run.seed is None else str(run.seed)
        rows.append(
            (
                Entry(run.folder),
                Entry(DASH) if place is None else _short(place),
                Entry(seed, run.seed),
                Entry(run.status),
                *(_single(run.number(name)) for name in MEASURES),
                Entry(run.note or DASH),
            )
        )
    columns = ('run', 'cell', 'seed', 'status', *MEASURES.values(), 'notes')
    return Table('Runs', 'Test accuracy, %.', columns, rows)


def _places(cells: Sequence[Cell]) -> dict[str, int]:
    return {run.folder: place for place, cell in enumerate(cells) for run in cell.runs}


def _single(value: float | None) -> Entry:
    return Entry(DASH) if value is None else Entry(f'{100 * value:.2f}', value)


def _settings(runs: Sequence[Run]) -> Table:
    configs = [run.config for run in runs if run.config]
    different = set(differing(configs))
    same = [name for name in (configs[0] if configs else ()) if name not in different]
    rows = [(Entry(name), Entry(configs[0][name])) for name in same]
    return Table('Settings equal in all runs', '', ('field', 'value'), rows)


def _origins(runs: Sequence[Run]) -> Table:
    """Versions and commits, a line each distinct."""
    finished = [run for run in runs if run.status == 'finished']
    found = {'versions': Counter(), 'git commit': Counter()}
    for run in finished:
        names = [name for name in run.result if name.startswith('versions.')]
        parts = (f'{n.removeprefix("versions.")} {run.result[n]}' for n in names)
        found['versions'][as_text(', '.join(parts)) or DASH] += 1
        found['git commit'][as_text(run.result.get('git_commit') or DASH)] += 1
    rows = [
        (Entry(what), Entry(text), Entry(str(count), count))
        for what, counts in found.items()
        for text, count in counts.most_common()
    ]
    return Table('Made with', '', ('what', 'value', 'runs'), rows)


def run_rows(
    runs: Sequence[Run], cells: Sequence[Cell]
) -> list[dict[str, str | float | int | None]]:
    """One row a run: what it is, all fields that differ, and every numeric result."""
    places = _places(cells)
    different = differing([run.config for run in runs if run.config])
    numbers = list(
        dict.fromkeys(
            name
            for run in runs
            for name, value in run.result.items()
            if is_number(value) and name != 'seed'
        )
    )
    rows = []
    for run in runs:
        place = places.get(run.folder)
        values = {name: run.result.get(name) for name in numbers}
        rows.append(
            {
                'run': run.folder,
                'cell': None if place is None else place + 1,
                **{name: run.config.get(name) for name in different},
                'seed': run.seed,
                'status': run.status,
                'note': run.note,
                **{as_text(k): v if is_number(v) else None for k, v in values.items()},
            }
        )
    return rows
