"""Scores of a whole data set beside a bare product of its features, and beside exact neighbours.

    python -m benchmarks.graph --sizes 10000 20000 --peer .venv-peer/bin/python --json out.json

The bare product is blocked like `sample_difficulty`, and kept nowhere. Each peer finds the
`ceil(pos_low (n - 1))` largest cosines of every row, which is what thresholds and means of the
bands need: faiss's flat index, and scikit-learn's brute force. And SAS's graph cut of one class
beside a plain lazy greedy.

Axes: n samples, k features.
"""

import functools
import heapq
import math
import statistics
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.rows import bare_product, centres, overlapping
from benchmarks.sides import started
from contrastive_jax.graph import sample_difficulty, subsets
from contrastive_jax.randomness import Use, host_rng

_PEER = Path(__file__).parent / 'peer' / 'neighbours.py'
_HIGH, _LOW = 0.1, 0.2
_OURS = 'sample_difficulty'
_KEPT = 0.2


def lazy_greedy(contribution, count: int) -> list[int]:
    """The graph cut of SAS by a heap of bounds: a gain only falls, so most are never computed."""
    sums, kept = contribution.sum(axis=1), []
    bounds = [(-gain, -index, 0) for index, gain in enumerate(sums)]
    heapq.heapify(bounds)
    while len(kept) < count:
        _, index, seen = heapq.heappop(bounds)
        if seen == len(kept):
            kept.append(-index)
            continue
        gain = sums[-index] - 2 * contribution[-index, kept].sum()
        heapq.heappush(bounds, (-gain, index, len(kept)))
    return kept


def features_of(n: int, k: int) -> np.ndarray:
    """Ten classes that overlap, `[n, k]` float32."""
    rng = host_rng(Use.BENCHMARK_DATA, 0)
    return overlapping(rng, n, centres(rng, k))


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--sizes', type=int, nargs='*', default=[10_000, 20_000])
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--sas', type=int, nargs='*', default=[5000], help='samples of a class')
    parser.add_argument('--peer', help='Python of the environment of peer/setup.sh')
    options = parser.parse_args(arguments)
    report = measure.Report('graph', options.json)
    for n in options.sizes:
        _report(report, n, _difficulty_times(n, options), of=_OURS)
    for n in options.sas:
        _report(report, n, _sas_times(n, options), of='sas')


def _report(report, n, times, *, of):
    for name, taken in times.items():
        seconds, over = statistics.median(taken), measure.ratio(taken, times[of])
        report.add(n=n, side=name, seconds=seconds, over_ours=over)


def _difficulty_times(n: int, options) -> dict[str, list[float]]:
    rows = features_of(n, options.features)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / 'features.npy')
        np.save(file, rows)
        features = jnp.asarray(rows)
        score = functools.partial(sample_difficulty, features, pos_high=_HIGH, pos_low=_LOW)
        timers = {
            _OURS: measure.timed(score),
            'bare product': measure.timed(lambda: bare_product(features, features)),
        }
        count = str(math.ceil(_LOW * (n - 1)))
        commands = {
            kind: [options.peer, str(_PEER), file, kind, count]
            for kind in (('faiss', 'scikit-learn') if options.peer else ())
        }
        with started(commands) as sides:
            timers |= {name: side.seconds for name, side in sides.items()}
            return measure.alternate(timers, options.rounds)


def _sas_times(n: int, options) -> dict[str, list[float]]:
    rows, one_class = features_of(n, options.features).astype(np.float64), np.zeros(n, np.int64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def ours():
        return subsets.sas(rows, one_class, _KEPT, objective='graph_cut')

    def lazy():
        return lazy_greedy(np.maximum(unit @ unit.T, 0), int(_KEPT * n))

    agree = np.array_equal(ours(), sorted(lazy()))
    print(f'SAS: both keep the same {int(_KEPT * n)} of {n}: {agree}')
    timers = {'sas': measure.timed(ours), 'lazy greedy': measure.timed(lazy)}
    return measure.alternate(timers, options.rounds)


if __name__ == '__main__':
    main()
