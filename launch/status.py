"""How far the runs of a folder are, read from the files that they write."""

import contextlib
import fcntl
import re
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from contrastive_jax.errors import UserError
from contrastive_jax.runs.names import CELL_NAMES, CONFIG, RESULT
from contrastive_jax.runtime.files import read_json

from .cells import GridError
from .planning import file_beside

__all__ = [
    'MAKES', 'State', 'describe', 'last_line', 'overview', 'read_names', 'state_of', 'time_left',
]  # fmt: skip

# The entry of `cells.json` that holds, for each run, the files in its folder that it has to make.
# Earlier versions did not write it.
MAKES = 'makes'
# A run prints a line a minute. One that has printed nothing for so long counts as stopped.
_SILENCE = 180.0
_TAIL_BYTES = 4096


class State(NamedTuple):
    """How far a run is.

    Attributes:
      title: its cells and its seed.
      name: 'done', 'running', 'stopped' or 'waiting'. A failed run counts as stopped.
      line: the last line of its log.
      seconds: how long it took, if it is done and its result says so.
    """

    title: str
    name: str
    line: str
    seconds: float | None = None

    @property
    def share(self) -> float:
        """The share of its training that is done, by its line; 0 where the line has none."""
        percent = re.search(r'(\d+) %', self.line)
        return int(percent[1]) / 100 if percent and self.name == 'running' else 0.0


def overview(folder: Path) -> list[str]:
    """Lines that say how far the runs are that `launch.sweep` has planned in a folder.

    Raises:
      GridError: `launch.sweep` has planned nothing there.
    """
    try:
        cells, makes = read_names(folder / CELL_NAMES)
    except OSError as error:
        raise GridError(
            f'--runs={folder}: has no {CELL_NAMES}, which launch.sweep writes when it begins'
        ) from error
    return describe(
        [
            state_of(folder / name, _title(folder / name, own), makes.get(name, [RESULT]))
            for name, own in cells.items()
        ]
    )


def read_names(path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The cells of each run, and the files that each run has to make, from a `cells.json`.

    Raises:
      FileNotFoundError: there is no such file.
      GridError: it cannot be read, or holds something else.
    """
    try:
        cells = read_json(path)
    except UserError as error:
        raise GridError(f'{error}; delete it, and launch.sweep writes it again') from error
    makes = cells.pop(MAKES, {})
    if not (_are_lists_of_texts(cells) and _are_lists_of_texts(makes)):
        raise GridError(
            f'{path}: does not hold names of cells; move it away, or give another --runs'
        )
    return cells, makes


def _are_lists_of_texts(table: object) -> bool:
    return isinstance(table, dict) and all(
        isinstance(value, list) and all(isinstance(each, str) for each in value)
        for value in table.values()
    )


def _title(run: Path, cells: Sequence[str]) -> str:
    """The cells of a run and, once it has begun, its seed."""
    name = ' = '.join(cells) or 'config'
    try:
        return f'{name}, seed {read_json(run / CONFIG)["seed"]}'
    except (OSError, UserError, KeyError):
        return name


def describe(states: Sequence[State]) -> list[str]:
    """A line for every run that runs or has stopped, and a last line for all of them."""
    shown = {'running': '', 'stopped': 'stopped; its last line: '}
    lines = [f'{s.title}: {shown[s.name]}{s.line}' for s in states if s.name in shown]
    counts = [
        f'{number} {name}'
        for name in ('done', 'running', 'stopped', 'waiting')
        if (number := sum(s.name == name for s in states))
    ]
    left = time_left(states)
    return [*lines, f'{len(states)} runs: {", ".join(counts)}{left and f"; {left}"}']


def time_left(states: Sequence[State]) -> str:
    """Says what time is left, if as many runs go on as now and each takes the mean time.

    Empty while no run is done, because only finished ones say how long they take.
    """
    taken = [s.seconds for s in states if s.seconds is not None]
    running = [s for s in states if s.name == 'running']
    if not (taken and running):
        return ''
    left = sum(1 - s.share for s in states if s.name != 'done')
    seconds = timedelta(seconds=round(mean(taken) * left / len(running)))
    return f'about {seconds} left, by the {len(taken)} done'


def state_of(workdir: Path, title: str, makes: Sequence[str] = (RESULT,)) -> State:
    """How far one run is; it is done when its folder holds the files that it has to make."""
    log = file_beside(workdir, '.log')
    if all((workdir / name).exists() for name in makes):
        seconds = None
        # A damaged result is no reason to say nothing of the other runs.
        with contextlib.suppress(OSError, UserError):
            seconds = read_json(workdir / RESULT).get('seconds')
        return State(title, 'done', '', seconds)
    if not log.exists():
        return State(title, 'waiting', '')
    return State(title, 'running' if _is_running(workdir) else 'stopped', last_line(log))


def _is_running(workdir: Path) -> bool:
    """Whether a process holds the lock of a run or, where locks do not tell, has just printed."""
    # A job of Slurm runs on another machine, and some file systems keep its lock there.
    if not (workdir.parent / 'slurm').is_dir():
        with contextlib.suppress(OSError), file_beside(workdir, '.lock').open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return True
            return False
    return time.time() - file_beside(workdir, '.log').stat().st_mtime < _SILENCE


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    try:
        with log.open('rb') as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors='replace')
    except OSError:
        return ''
    lines = [line.strip() for line in re.split(r'[\r\n]', text) if line.strip()]
    return lines[-1] if lines else ''
