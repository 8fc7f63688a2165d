"""What the benchmarks share: turns taken in one run, the machine's ceiling, tables and JSON."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from contrastive_jax.provenance import git_commit, platform_flags, versions

__all__ = ['Ratio', 'alternate', 'ceiling', 'ratio', 'seconds', 'write']


class Ratio(NamedTuple):
    """Of two times of the same round: median, least, largest."""

    median: float
    low: float
    high: float

    def __str__(self):
        """As the tables show it."""
        return f'{self.median:.3f} ({self.low:.3f}-{self.high:.3f})'


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock time of one call, its result ready."""
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def alternate(
    sides: dict[str, Callable[[], object]], rounds: int, timer: Callable = seconds
) -> dict[str, list[float]]:
    """Times each side once a round, in turn, after a round that is not counted.

    On a machine that others use as well, only times of the same minute compare.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, side in sides.items():
            taken = timer(side)
            if round_:  # the first compiles, or warms up
                times[name].append(taken)
    return times


def ratio(times: list[float], of: list[float]) -> Ratio:
    """The first over the second, round by round."""
    ratios = [one / other for one, other in zip(times, of, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def ceiling(rounds: int = 5, dtype=jnp.float32) -> dict[str, float]:
    """What the machine can do now: a large matrix product, and a copy of a large array.

    Returns:
      `flops` a second of a product of two 4096 x 4096 matrices (2048 on a CPU), and `bytes` a
      second, read and written, of adding one to 256 MiB; medians.
    """
    n = 2048 if jax.default_backend() == 'cpu' else 4096
    square = jnp.ones((n, n), dtype)
    long = jnp.ones(2**26, jnp.float32)
    product, add = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    times = alternate(
        {'product': lambda: product(square, square), 'copy': lambda: add(long)}, rounds
    )
    return {
        'flops': 2 * n**3 / statistics.median(times['product']),
        'bytes': 2 * long.nbytes / statistics.median(times['copy']),
    }


def write(path: str | None, command: str, rows: list[dict], top: dict[str, float]) -> None:
    """Writes rows, ceiling and what produced them as JSON, if a path is given."""
    if path:
        content = {
            'benchmark': command,
            'git_commit': git_commit(),
            'versions': versions(),
            'platform': platform_flags(),
            'ceiling': top,
            'rows': rows,
        }
        Path(path).write_text(json.dumps(content, indent=2) + '\n')
