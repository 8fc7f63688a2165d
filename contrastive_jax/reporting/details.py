"""The reference tables of a report, and its CSV file with one row per run."""

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from contrastive_jax.config import FIELDS
from contrastive_jax.reporting.choice import Choice
from contrastive_jax.reporting.collect import MEASURES, Run, as_text, is_number
from contrastive_jax.reporting.entries import (
    SPREAD_NOTE,
    Entry,
    Table,
    listed_numbers,
    mean_of,
    mean_over,
    short,
)
from contrastive_jax.reporting.statistics import Cell, by_seed, differing
from contrastive_jax.reporting.style import DASH, PERCENT

__all__ = ['csv_text', 'detail_tables', 'rows_of_runs']

_MOST_CLASSES = 20
_REPRESENTATIONS = {'random_encoder': 'untrained encoder', 'raw_pixel': 'raw pixels'}


def detail_tables(runs: Sequence[Run], cells: Sequence[Cell]) -> tuple[Table, ...]:
    """Baselines, images and time, runs, versions, and settings that all runs share."""
    return (
        _representations(cells),
        _training(cells),
        _runs(runs, cells),
        _origins(runs),
        _settings(runs),
    )


def _representations(cells: Sequence[Cell]) -> Table:
    """Accuracies of the untrained encoder and of raw pixels, once for all cells that agree."""
    # Results of the linear probe have no measure in their name.
    names = ('accuracy', *list(MEASURES)[1:])
    rows = []
    for prefix, title in _REPRESENTATIONS.items():
        for members, values in _agreeing(cells, [f'{prefix}_{name}' for name in names]):
            which = 'all' if len(members) == len(cells) else listed_numbers('cell', members)
            means = (mean_over(list(seeds.values()), 100) for seeds in values.values())
            rows.append((Entry(title), Entry(which), *means))
    columns = ('representation', 'cells', *MEASURES.values())
    note = f'Cells with equal numbers for equal seeds have one row. {SPREAD_NOTE}'
    return Table('Without pre-training: test accuracy, %', note, columns, rows)


def _agreeing(
    cells: Sequence[Cell], names: Sequence[str]
) -> list[tuple[list[int], dict[str, dict[int, float]]]]:
    """Groups of cells whose results are equal for equal seeds, and these results by seed.

    Args:
      cells: all cells; those without any of the results are in no group.
      names: names of the results.
    """
    groups: list[tuple[list[int], dict[str, dict[int, float]]]] = []
    for index, cell in enumerate(cells):
        own = {name: by_seed(cell, name) for name in names}
        if not any(own.values()):
            continue
        for members, values in groups:
            shared = any(values[name].keys() & own[name].keys() for name in names)
            if shared and all(_equal(values[name], own[name]) for name in names):
                members.append(index)
                for name in names:
                    values[name] |= own[name]
                break
        else:
            groups.append(([index], own))
    return groups


def _equal(some: dict[int, float], others: dict[int, float]) -> bool:
    return all(math.isclose(some[seed], others[seed]) for seed in some.keys() & others.keys())


def _training(cells: Sequence[Cell]) -> Table:
    rows = [
        (
            short(index),
            mean_of(cell, 'removed', digits=0),
            Entry(_by_class(cell)),
            mean_of(cell, 'mixed', digits=0),
            mean_of(cell, 'steps', digits=0),
            mean_of(cell, 'epochs'),
            mean_of(cell, 'pairs_per_second', digits=0),
            mean_of(cell, 'seconds', digits=0),
            mean_of(cell, 'test_images', digits=0),
            mean_of(cell, 'skipped_images', digits=0),
            mean_of(cell, 'skipped_updates', digits=0),
        )
        for index, cell in enumerate(cells)
    ]
    columns = (
        *('cell', 'removed', 'removed by class', 'mixed', 'updates', 'epochs'),
        *('pairs/s', 'seconds', 'test images', 'broken', 'skipped'),
    )
    note = (
        'Epochs: passes over the images that were pre-trained on, each without the images that '
        f'fill no whole batch. Broken: images that could not be read. Skipped: '
        f'updates left out because loss or gradient were not finite. {SPREAD_NOTE}'
    )
    return Table('Images and time', note, columns, rows)


def _by_class(cell: Cell) -> str:
    """How many images of each class were removed, if the numbers are the same for all runs."""
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
    indices = _cell_indices(cells)
    rows = []
    for run in runs:
        index = indices.get(run.folder)
        seed = DASH if run.seed is None else str(run.seed)
        rows.append(
            (
                Entry(run.folder),
                Entry(DASH) if index is None else short(index),
                Entry(seed, run.seed),
                Entry(run.status),
                *(_single(run.number(name)) for name in MEASURES),
                Entry(run.note or DASH),
            )
        )
    columns = ('run', 'cell', 'seed', 'status', *MEASURES.values(), 'notes')
    return Table('Runs', 'Test accuracy, %.', columns, rows)


def _cell_indices(cells: Sequence[Cell]) -> dict[str, int]:
    return {run.folder: index for index, cell in enumerate(cells) for run in cell.runs}


def _single(value: float | None) -> Entry:
    return Entry(DASH) if value is None else Entry(f'{100 * value:{PERCENT}}', value)


def _settings(runs: Sequence[Run]) -> Table:
    configs = [run.config for run in runs if run.config]
    different = set(differing(configs))
    same = [name for name in (configs[0] if configs else ()) if name not in different]
    rows = [(Entry(name), Entry(configs[0][name])) for name in same]
    return Table('Settings equal in all runs', '', ('field', 'value'), rows)


def _origins(runs: Sequence[Run]) -> Table:
    """Versions and commits, one row for each different one."""
    finished = [run for run in runs if run.status == 'finished']
    origins: dict[str, Counter[str]] = {'versions': Counter(), 'git commit': Counter()}
    for run in finished:
        names = [name for name in run.result if name.startswith('versions.')]
        parts = (f'{n.removeprefix("versions.")} {run.result[n]}' for n in names)
        origins['versions'][as_text(', '.join(parts)) or DASH] += 1
        origins['git commit'][as_text(run.result.get('git_commit') or DASH)] += 1
    rows = [
        (Entry(what), Entry(text), Entry(str(count), count))
        for what, counts in origins.items()
        for text, count in counts.most_common()
    ]
    return Table('Made with', '', ('what', 'value', 'runs'), rows)


def rows_of_runs(
    runs: Sequence[Run], cells: Sequence[Cell], choice: Choice | None = None
) -> list[dict[str, str | float | int | None]]:
    """One row per run: its folder and cell, all fields that differ, and every numeric result.

    A result with the name of a config field, such as `epochs`, is called `result.epochs`.
    """
    indices = _cell_indices(cells)
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
        index = indices.get(run.folder)
        values = {name: run.result.get(name) for name in numbers}
        rows.append(
            {
                'run': run.folder,
                'cell': None if index is None else index + 1,
                **({} if choice is None else {'chosen': index == choice.cell}),
                **{name: run.config.get(name) for name in different},
                'seed': run.seed,
                'status': run.status,
                'note': run.note,
                **{
                    f'result.{k}' if k in FIELDS else as_text(k): v if is_number(v) else None
                    for k, v in values.items()
                },
            }
        )
    return rows


def csv_text(runs: Sequence[Run], cells: Sequence[Cell], choice: Choice | None = None) -> str:
    """The rows of `rows_of_runs` as the text of a CSV file."""
    # Objects, because a column of integers with a missing one would become floats.
    return pd.DataFrame(rows_of_runs(runs, cells, choice), dtype=object).to_csv(
        index=False, lineterminator='\r\n'
    )
