"""Reads the files of runs, and names the files that cannot be read.

Plain dictionaries hold what is read: a pandas frame would turn huge integers, booleans and missing
values of damaged files into other values before they are checked.
"""

import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contrastive_jax.config import WITHOUT_EFFECT, completed, flatten
from contrastive_jax.errors import UserError
from contrastive_jax.reporting.style import one_line
from contrastive_jax.runs.names import CELL_NAMES, CONFIG, IMAGES, METRICS, RESULT
from contrastive_jax.runtime.files import read_json

__all__ = [
    'CURVES',
    'MEASURES',
    'MONITOR',
    'SELECTED_BY',
    'VALIDATION',
    'Run',
    'as_text',
    'find_runs',
    'is_number',
    'read_run',
]

MEASURES = {
    'linear_accuracy': 'linear',
    'few_label_accuracy': 'few labels',
    'knn_accuracy': 'kNN',
    'knn20_accuracy': '20-NN',
}
# The same measures on training images that the probes were not fitted on.
VALIDATION = {
    'validation_accuracy': 'linear',
    'validation_few_label_accuracy': 'few labels',
    'validation_knn_accuracy': 'kNN',
    'validation_knn20_accuracy': '20-NN',
}
SELECTED_BY = 'validation_accuracy'
CURVES = ('loss', 'different_class_share')
# Curves of the monitor have names with this prefix.
MONITOR = 'monitor/'
_FILES = {CONFIG, RESULT, METRICS}
# The hash of its config, by which `launch.sweep` names a run.
_RUN_NAME = re.compile('[0-9a-f]{16}')


class Run(NamedTuple):
    """One workdir.

    Attributes:
      folder: its path, as the user gave it or below a folder that the user gave.
      status: 'finished'; 'unfinished', which includes failed runs; or 'damaged'.
      note: what is wrong, or how many steps the run made.
      config: flattened config with every value as text and newer fields at their default; empty if
        it cannot be read.
      seed: seed of the run; None if the config cannot be read.
      result: flattened result; empty unless finished.
      curves: mean over the steps of each epoch, by name and epoch.
      cells: names that grids give to the cells of this run.
      images: checksum of all images of the training split; empty of an older run.
    """

    folder: str
    status: str
    note: str
    config: dict[str, str]
    seed: int | None
    result: dict[str, Any]
    curves: dict[str, dict[int, float]]
    cells: tuple[str, ...] = ()
    images: str = ''

    def number(self, name: str) -> float | None:
        """A numeric result, or None where there is none."""
        value = self.result.get(name)
        return None if value is None or not is_number(value) else float(value)


def find_runs(paths: Sequence[str]) -> list[Path]:
    """The workdirs among and below the folders, sorted and each once.

    A file `.txt` lists folders, one a line, as a sweep writes it; those of runs that have not begun
    are given too. Links below the folders are followed if they lead to a workdir.

    Raises:
      UserError: no folder; one that is missing, cannot be read or holds no run; a list of which no
        run has begun.
    """
    if not paths:
        raise UserError('RUNS: missing; give workdirs, or folders that hold them')
    workdirs: dict[Path, Path] = {}
    waiting: list[Path] = []
    for path, listed in _listed(paths):
        # A list may be some other text.
        if listed and os.sep in path and not (os.path.isdir(path) and any(_workdirs(path))):
            waiting.append(Path(path))
            continue
        if not os.path.isdir(path):
            kind = 'file' if path.endswith('.txt') else 'folder'
            what = 'is a file' if os.path.exists(path) else f'no such {kind}'
            raise UserError(
                f'{path}: {what}; give workdirs, folders that hold them, or the list '
                'RUNS/GRID.txt that launch.sweep writes'
            )
        # The folder itself has the name that a grid knows.
        inside = sorted(_workdirs(path), key=Path.is_symlink)
        if not inside:
            raise UserError(
                f'{path}: holds no run, at no depth ({", ".join(sorted(_FILES))}); give workdirs, '
                'or folders that hold them'
            )
        for folder in inside:
            workdirs.setdefault(folder.resolve(), folder)
    if not workdirs:
        what = 'holds no run' if waiting[0].is_dir() else 'no such folder'
        raise UserError(f'{waiting[0]}: {what}, and no other run of the list has begun')
    return sorted({*workdirs.values(), *waiting})


def _listed(paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The paths, with the lines of a list in its place, and whether each is such a line."""
    for path in paths:
        if not (path.endswith('.txt') and os.path.isfile(path)):
            yield path, False
            continue
        try:
            # As bytes, because a path need not be text.
            lines = [line for line in Path(path).read_bytes().splitlines() if line.strip()]
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror}); give folders') from error
        if not lines:
            raise UserError(f'{path}: lists no run')
        yield from ((_beside(path, os.fsdecode(line)), True) for line in lines)


def _beside(listed: str, line: str) -> str:
    """The run beside a list that a line of it names, also after both were moved; else the line.

    A sweep writes the paths as they are from its own folder.
    """
    name = os.path.basename(line)
    run = os.path.join(os.path.dirname(listed), name)
    # The name of a run says what it is; other folders may share a name.
    return run if _RUN_NAME.fullmatch(name) and os.path.isdir(run) else line


def _workdirs(path: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f'{error.filename}: cannot be read ({error.strerror}); give other folders')

    for folder, subfolders, files in os.walk(path, onerror=refuse):
        if _FILES & set(files):
            yield Path(folder)
            # It holds thousands of files and no run.
            subfolders[:] = [name for name in subfolders if name != 'checkpoints']
            continue
        for link in (os.path.join(folder, name) for name in subfolders):
            if os.path.islink(link) and any(os.path.exists(f'{link}/{name}') for name in _FILES):
                yield Path(link)


def read_run(folder: Path) -> Run:
    """Reads one workdir."""
    if not any(os.path.exists(folder / name) for name in _FILES):
        name = as_text(str(folder))
        return Run(name, 'unfinished', 'has not begun', {}, None, {}, {}, _cell_names(folder), '')
    config, config_problem = _load(folder / CONFIG)
    result, result_problem = _load(folder / RESULT)
    curves, progress = _read_metrics(folder / METRICS)
    seed = config.get('seed')
    if not config_problem and (not isinstance(seed, int) or isinstance(seed, bool)):
        config_problem = f'{CONFIG} damaged: no seed'
    measures = {name: result.get(name) for name in (*MEASURES, *VALIDATION)}
    invalid = [name for name, x in measures.items() if x is not None and not is_number(x)]
    if invalid:
        result_problem = f'{RESULT} damaged: {invalid[0]} is no number'
    if config_problem:
        config, seed = {}, None
    if config_problem or result_problem:
        result = {}
    unfinished = not config_problem and result_problem == _missing(RESULT)
    damaged = (config_problem or result_problem) and not unfinished
    # A run from before a field existed is grouped with the runs that have the default.
    config = completed(config) if config else {}
    # Runs that differ in these alone are runs of one cell.
    apart = {'seed', *WITHOUT_EFFECT}
    return Run(
        as_text(str(folder)),
        'damaged' if damaged else 'unfinished' if unfinished else 'finished',
        '; '.join(filter(None, (config_problem, result_problem, progress))),
        {as_text(name): as_text(value) for name, value in config.items() if name not in apart},
        seed,
        result,
        curves,
        _cell_names(folder),
        as_text(_load(folder / IMAGES)[0].get('checksum', '')),
    )


def _cell_names(folder: Path) -> tuple[str, ...]:
    """The names that grids give to the cells of a run, from the file beside its folder.

    Raises:
      UserError: the file is damaged.
    """
    path = folder.parent / CELL_NAMES
    try:
        names = read_json(path).get(folder.name, [])
    except FileNotFoundError:
        return ()
    except UserError as error:
        raise UserError(f'{error}; delete it, and launch.sweep writes it again') from error
    return tuple(map(as_text, names)) if isinstance(names, list) else ()


def as_text(value: Any) -> str:
    """A value as one printable line; equal numbers give equal texts, also 0 and 0.0."""
    if is_number(value):
        return f'{value + 0.0:.12g}'  # No negative zero.
    return one_line(json.dumps(value) if isinstance(value, list) else str(value))


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        # False for NaN, and without overflow for integers that are too large for a float.
        and abs(value) <= sys.float_info.max
    )


def _missing(name: str) -> str:
    return f'no {name}'


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """The flattened content of a JSON file and, in words, what is wrong with the file."""
    try:
        return flatten(read_json(path)), ''
    except FileNotFoundError:
        return {}, _missing(path.name)
    except UserError as error:
        return {}, as_text(str(error).removeprefix(f'{path.parent}{os.sep}'))


def _read_metrics(path: Path) -> tuple[dict[str, dict[int, float]], str]:
    """The curves and, in words, how long they are and what is wrong with the file."""
    try:
        with path.open(encoding='utf-8-sig', errors='replace') as file:
            lines = [_entry(line) for line in file]
    except FileNotFoundError:
        return {}, _missing(path.name)
    except OSError as error:
        return {}, as_text(f'{path.name} cannot be read ({error.strerror})')
    entries = [entry for entry in lines if entry is not None]
    diverged = [entry['step'] for entry in entries if not is_number(entry['loss'])]
    notes = (
        f'{entries[-1]["step"]} steps, {entries[-1]["epoch"] + 1} epochs' if entries else '',
        f'damaged lines in {path.name}: {lines.count(None)}' if None in lines else '',
        f'loss not finite from step {diverged[0]}' if diverged else '',
    )
    seen = sorted({name for entry in entries for name in entry if name.startswith(MONITOR)})
    curves = {as_text(name): _means(entries, name) for name in (*CURVES, *seen)}
    return {k: v for k, v in curves.items() if v}, '; '.join(filter(None, notes))


def _entry(line: str) -> dict[str, Any] | None:
    """One line of the metrics, or None if it is damaged."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or 'loss' not in entry:
        return None
    return entry if all(type(entry.get(name)) is int for name in ('step', 'epoch')) else None


def _means(entries: list[dict[str, Any]], name: str) -> dict[int, float]:
    epochs = defaultdict(list)
    for entry in entries:
        if is_number(entry.get(name)):
            epochs[entry['epoch']].append(entry[name])
    return {epoch: sum(values) / len(values) for epoch, values in sorted(epochs.items())}
