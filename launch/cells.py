"""The cells of a grid, and the fields that a command line sets beside them."""

import ast
import difflib
import importlib
import pkgutil
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrastive_jax.config import FIELDS, one_spelling, paths
from contrastive_jax.config.arms import ARMS, PAIR_FIELDS, STRENGTH_FIELDS
from contrastive_jax.config.shipped import line_in_file
from contrastive_jax.runtime.shell import expand_home

from . import grids
from .grids import ScoresOf

__all__ = [
    'GridError',
    'at_line',
    'cells_of',
    'check_arm',
    'check_extra',
    'of_cell',
    'override',
    'unused',
]


class GridError(ValueError):
    """An error that the user can correct; it is printed as one line."""


def cells_of(grid: str) -> Mapping[str, Mapping[str, Any]]:
    """The cells of a grid.

    Args:
      grid: the name of a file of launch/grids, or the path of any other such file with its `.py`.

    Raises:
      GridError: no such grid, and the message names the nearest; a file that cannot be used.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(grids.__path__))
    if Path(grid).suffix == '.py':
        return _cells_of_file(Path(grid), names)
    if grid not in names:
        near = difflib.get_close_matches(grid, names, n=1, cutoff=0.0)[0]
        raise GridError(f'--grid={grid}: must be one of {", ".join(names)}; nearest is {near}')
    return importlib.import_module(f'{grids.__name__}.{grid}').CELLS


def _cells_of_file(path: Path, names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    where = f'--grid={path}'
    if path.stem in (*names, 'config'):
        owner = 'runs without a grid' if path.stem == 'config' else f'--grid={path.stem}'
        raise GridError(f'{where}: RUNS/{path.stem}.txt is the list of {owner}; rename the file')
    if not path.is_file():
        raise GridError(f'{where}: no such file')
    try:
        # As a module of launch/grids, so that `from . import ScoresOf` works here too.
        values = runpy.run_path(str(path), run_name=f'{grids.__name__}.own')
    except (Exception, SystemExit) as error:  # The file is a program, and may fail in every way.
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise GridError(f'{where}{at_line(error, path)}: {reason}') from error
    cells: Any = values.get('CELLS')
    _check_cells(cells, where)
    return cells


def at_line(error: BaseException, path: str | Path) -> str:
    """Where in a file of Python an error is, as part of a message; empty if it is not in it."""
    line = line_in_file(error, path)
    return f', line {line}' if line else ''


def _check_cells(cells: Any, where: str) -> None:
    """Refuses cells of a user that could not be planned."""
    if not (isinstance(cells, Mapping) and cells) or not all(
        isinstance(name, str)
        and isinstance(fields, Mapping)
        and all(isinstance(path, str) for path in fields)
        for name, fields in cells.items()
    ):
        raise GridError(
            f"{where}: has no CELLS, which names cells and their fields: {{'a': {{'epochs': 9}}}}"
        )
    scored = {
        name: [value for value in fields.values() if isinstance(value, ScoresOf)]
        for name, fields in cells.items()
    }
    for name, fields in cells.items():
        if 'seed' in fields:
            raise GridError(f'{where}: cell {name!r}: sets the seed; use --seeds and --first_seed')
        for value in scored[name]:
            if scored.get(value.cell, [value]) or value.by not in ('score', 'verify'):
                raise GridError(
                    f'{where}: cell {name!r}: {value}: must name a cell that needs no scores, and '
                    "by='score' or by='verify'"
                )


def override(text: str) -> tuple[str, Any]:
    """Path and value of a flag such as `--config.pairs.margin=0.1`."""
    path, equals, value = text.removeprefix('--config.').partition('=')
    if not (text.startswith('--config.') and equals):
        raise GridError(f'{text}: after -- come config fields, as --config.FIELD=VALUE')
    # A folder may be called 2024, as the flags of `main` take it.
    if path in FIELDS and isinstance(FIELDS[path].default, str | None):
        # One folder has one name, by which the run is named too.
        value = one_spelling(expand_home(value)) if path in paths() else value
        return path, None if value == 'None' else value
    words = {'true': 'True', 'false': 'False'}
    if path in FIELDS and isinstance(FIELDS[path].default, bool):
        words |= {'1': 'True', '0': 'False'}
    try:
        return path, ast.literal_eval(words.get(value, value))
    except (ValueError, SyntaxError):
        return path, value


def check_extra(cells: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any]) -> None:
    """Refuses extra fields that the grid varies: cells would no longer be what their names say."""
    for path, value in extra.items():
        if path == 'seed':
            raise GridError(
                f'--config.seed={value}: a sweep has its own seeds; use --seeds and --first_seed'
            )
        values = {repr(cell.get(path)) for cell in cells.values()}
        if len(values) > 1:
            raise GridError(
                f'--config.{path}={value}: this grid compares cells that differ in {path}; leave '
                'it out, or run --config without --grid'
            )


def unused(cells: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any]) -> list[str]:
    """A line for each strength of a treatment that the arm of no cell uses."""
    return [
        f'--config.{path}={value}: has no effect, because no cell of this grid has an arm with it'
        for path, value in extra.items()
        if not any(path in of_cell(cell, extra) for cell in cells.values())
    ]


def of_cell(cell: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The extra fields without the strengths that the arm of a cell does not use."""
    arm = cell.get('arm')
    # `planning` refuses an arm that there is not.
    if arm not in tuple(ARMS) or 'arm' in extra:
        return dict(extra)
    others = set(STRENGTH_FIELDS) - ARMS[arm][1]
    return {path: value for path, value in extra.items() if path not in others}


def check_arm(
    cell: str, fields: Mapping[str, Any], values: Mapping[str, Any], extra: Mapping[str, Any]
) -> None:
    """Refuses extra fields that would make a cell something else than its name says."""
    arm = fields.get('arm')
    if arm and values['arm'] != arm and 'arm' not in extra:
        given = ', '.join(f'config.{path}={extra[path]!r}' for path in extra if path in PAIR_FIELDS)
        raise GridError(
            f'{given}: changes the arm of the cell {cell!r} from {arm} to '
            f'{values["arm"] or "none that has a name"}; leave it out, or run --config alone'
        )
