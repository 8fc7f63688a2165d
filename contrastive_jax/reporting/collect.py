"""Reads what runs left in their workdirs; what cannot be read is said, not left out."""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contrastive_jax.config import WITHOUT_EFFECT, completed, flatten
from contrastive_jax.errors import UserError
from contrastive_jax.runs.workdir import CONFIG, RESULT
from contrastive_jax.runtime.files import read_json

__all__ = [
    'CURVES',
    'MEASURES',
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
_METRICS = 'metrics.jsonl'
_OWN = {CONFIG, RESULT, _METRICS}


class Run(NamedTuple):
    """One workdir.

    Attributes:
      folder: as it was given, or found below what was given.
      status: 'finished'; 'unfinished', which may have failed; or 'damaged'.
      note: what is wrong, or how far it came.
      config: flattened, every value as text, newer fields at their default; empty if it cannot
        be read.
      seed: None if the config cannot be read.
      result: flattened; empty unless finished.
      curves: mean over the steps of each epoch, by name and epoch.
    """

    folder: str
    status: str
    note: str
    config: dict[str, str]
    seed: int | None
    result: dict[str, Any]
    curves: dict[str, dict[int, float]]

    def number(self, name: str) -> float | None:
        """A numeric result, or None where there is none."""
        value = self.result.get(name)
        return float(value) if is_number(value) else None


def find_runs(paths: Sequence[str]) -> list[Path]:
    """The workdirs among and below the folders, sorted, each once; links below are not followed.

    Raises:
      UserError: no folder; one that is missing, cannot be read or holds no run.
    """
    if not paths:
        raise UserError('RUNS: missing; give workdirs, or folders that hold them')
    found: dict[Path, Path] = {}
    for path in paths:
        if not os.path.isdir(path):
            raise UserError(f'{path}: no such folder; give workdirs, or folders that hold them')
        inside = list(_workdirs(path))
        if not inside:
            raise UserError(
                f'{path}: holds no run, at no depth ({", ".join(sorted(_OWN))}); give workdirs, or '
                'folders that hold them'
            )
        for folder in inside:
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values())


def _workdirs(path: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f'{error.filename}: cannot be read ({error.strerror}); give other folders')

    for where, folders, files in os.walk(path, onerror=refuse):
        if _OWN & set(files):
            yield Path(where)
            # Thousands of files, and none of them a run.
            folders[:] = [name for name in folders if name != 'checkpoints']


def read_run(folder: Path) -> Run:
    """Reads one workdir."""
    config, config_problem = _load(folder / CONFIG)
    result, result_problem = _load(folder / RESULT)
    curves, progress = _read_metrics(folder / _METRICS)
    seed = config.get('seed')
    if not config_problem and (not isinstance(seed, int) or isinstance(seed, bool)):
        config_problem = f'{CONFIG} damaged: no seed'
    wrong = [name for name in (*MEASURES, *VALIDATION) if not _is_measure(result.get(name))]
    if wrong:
        result_problem = f'{RESULT} damaged: {wrong[0]} is no number'
    if config_problem:
        config, seed = {}, None
    if config_problem or result_problem:
        result = {}
    unfinished = not config_problem and result_problem == _missing(RESULT)
    damaged = (config_problem or result_problem) and not unfinished
    # A run of before a field existed belongs with those that have its default.
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
    )


def as_text(value: Any) -> str:
    """A value in one printable line; equal numbers give equal texts, 0 and 0.0 too."""
    if is_number(value):
        return f'{value + 0.0:.12g}'  # No negative zero.
    text = json.dumps(value) if isinstance(value, list) else str(value)
    # Escape sequences would reach the terminal, and half a surrogate pair no file at all.
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        # False for NaN, and no overflow for integers that no float can hold.
        and abs(value) <= sys.float_info.max
    )


def _is_measure(value: Any) -> bool:
    return value is None or is_number(value)


def _missing(name: str) -> str:
    return f'no {name}'


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """The flattened content of a JSON file, and what is wrong with it."""
    try:
        return flatten(read_json(path)), ''
    except FileNotFoundError:
        return {}, _missing(path.name)
    except UserError as error:
        return {}, as_text(str(error).removeprefix(f'{path.parent}{os.sep}'))


def _read_metrics(path: Path) -> tuple[dict[str, dict[int, float]], str]:
    """The curves, and how far they go and what is wrong with them."""
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
    curves = {name: _means(entries, name) for name in CURVES}
    return {k: v for k, v in curves.items() if v}, '; '.join(filter(None, notes))


def _entry(line: str) -> dict[str, Any] | None:
    """One line of the metrics, or None if it is damaged."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(entry, dict) and 'loss' in entry
    return entry if whole and all(type(entry.get(k)) is int for k in ('step', 'epoch')) else None


def _means(entries: list[dict[str, Any]], name: str) -> dict[int, float]:
    epochs = defaultdict(list)
    for entry in entries:
        if is_number(entry.get(name)):
            epochs[entry['epoch']].append(entry[name])
    return {epoch: sum(values) / len(values) for epoch, values in sorted(epochs.items())}
