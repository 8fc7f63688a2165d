"""What the benchmarks share: turns taken in one run, the machine's ceiling, tables and JSON."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from contrastive_jax.runs.provenance import git_commit, platform_flags, versions
from contrastive_jax.runtime.files import write_json

__all__ = [
    'Ratio',
    'Report',
    'alternate',
    'calls_a_turn',
    'ceiling',
    'options',
    'ratio',
    'timed',
]

Timer = Callable[[], float]


class Ratio(NamedTuple):
    """Ratio of two times of the same round: its median and range over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self):
        """As the tables show it; the range of a single round says nothing."""
        if self.low == self.high:
            return f'{self.median:.3f}'
        return f'{self.median:.3f} ({self.low:.3f}-{self.high:.3f})'


def options(doc: str, *, rounds: int | None = 5) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes; without `--rounds` where there are none.

    Args:
      doc: docstring of the benchmark's module.
      rounds: how many unless told otherwise; None of a benchmark that takes no turns.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    if rounds is not None:
        parser.add_argument('--rounds', type=int, default=rounds, help='after one that warms up')
    parser.add_argument('--json', help='file to write')
    return parser


def calls_a_turn() -> int:
    """How many calls of a program of milliseconds make a turn.

    A GPU works while the host already asks for more, and waiting for a single call costs it a large
    part of a millisecond.
    """
    return 1 if jax.default_backend() == 'cpu' else 20


def timed(function: Callable[[], object], calls: int = 1) -> Timer:
    """A timer of one call, its result ready; the mean of several where one is too short."""

    def seconds():
        began = time.perf_counter()
        for _ in range(calls):
            result = function()
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / calls

    return seconds


def alternate(timers: dict[str, Timer], rounds: int) -> dict[str, list[float]]:
    """Times each side once a round, in turn, after a round that is not counted.

    On a machine that others use as well, only times of the same minute compare.
    """
    times: dict[str, list[float]] = {name: [] for name in timers}
    for round_ in range(rounds + 1):
        for name, timer in timers.items():
            seconds = timer()
            if round_:  # the first compiles, or warms up
                times[name].append(seconds)
    return times


def ratio(times: list[float], of: list[float]) -> Ratio:
    """The first over the second, round by round."""
    ratios = [one / other for one, other in zip(times, of, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def ceiling(rounds: int = 5, dtype=jnp.float32) -> dict[str, float]:
    """What the machine can do now: a large matrix product, and a copy of a large array.

    Returns:
      `flops` a second of a product of two 8192 x 8192 matrices (2048 on a CPU), and `bytes` a
      second, read and written, of adding one to 256 MiB; medians.
    """
    n, calls = 2048 if jax.default_backend() == 'cpu' else 8192, calls_a_turn()
    square = jnp.ones((n, n), dtype)
    long = jnp.ones(2**26, jnp.float32)
    product, add = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    sides = {
        'product': timed(lambda: product(square, square), calls),
        'copy': timed(lambda: add(long), calls),
    }
    times = alternate(sides, rounds)
    return {
        'flops': 2 * n**3 / statistics.median(times['product']),
        'bytes': 2 * long.nbytes / statistics.median(times['copy']),
    }


def check_new(path: str | None) -> None:
    """Exits if a file to write is there, which is not to be replaced, or if its folder is not."""
    if path is not None and Path(path).exists():
        raise SystemExit(f'--json={path}: exists; give another name, or delete it')
    if path is not None and not Path(path).parent.is_dir():
        raise SystemExit(f'--json={path}: its folder does not exist; make it')


class Report:
    """The table of a benchmark: prints each row as it comes, and writes all of them as JSON.

    The file is whole after every row, so that what was measured outlives a run that is cut off.
    """

    def __init__(self, command: str, path: str | None, dtype=jnp.float32):
        """Measures the ceiling and prints it."""
        check_new(path)
        self._path, self._columns = path, None
        top = ceiling(dtype=dtype)
        print(f'ceiling: {top["flops"] / 1e9:.0f} GFLOP/s, {top["bytes"] / 1e9:.1f} GB/s')
        self.content = {
            'benchmark': command,
            'git_commit': git_commit(),
            'versions': versions(),
            'platform': platform_flags(),
            'ceiling': top,
            'rows': [],
        }

    def add(self, **row) -> None:
        """Adds a row; a name above each column, again where the columns change."""
        cells = {name: _cell(value) for name, value in row.items()}
        widths = [max(len(name), 20 if isinstance(row[name], Ratio | str) else 9) for name in row]
        if self._columns != list(row):
            self._columns = list(row)
            print(*(f'{name:>{width}}' for name, width in zip(row, widths, strict=True)))
        line = (f'{cell:>{width}}' for cell, width in zip(cells.values(), widths, strict=True))
        print(*line, flush=True)
        self.content['rows'].append(row)
        if self._path:
            write_json(Path(self._path), self.content)


def _cell(value) -> str:
    if value is None:
        return '-'
    return f'{value:.4g}' if isinstance(value, float) else str(value)
