"""Time and memory of difficulty for many samples, exact and by landmarks, beside a bare product.

    python -m benchmarks.scale --exact 20000 --sizes 100000 1000000 --landmarks 4096 --json out.json

Features are float16, in an npy file, or with `--generate` made on the fly from a seed.
CPU seconds add up all threads, so that other jobs on the machine change them little; wall seconds
need a quiet machine. The bare product is that of 2,048 anchors with as many rows, blocked, scaled
to the number of anchors. Memory is the most that the process holds beyond files, sampled, less what
it held before.

Axes: n samples, k features.
"""

import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.rows import bare_product, centres, overlapping
from contrastive_jax.data.feature_rows import array_rows, open_rows
from contrastive_jax.evaluation.scoring import score_rows
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.randomness import Use, host_rng

_BLOCK = 4096
_ANCHORS = 2048
_NEAREST = 100


class Generated:
    """Rows of ten classes that overlap, `[n, k]` float16, made when they are read."""

    dtype = np.dtype(np.float16)

    def __init__(self, n: int, k: int):
        """Draws the centres."""
        self.shape = n, k
        self._centres = centres(host_rng(Use.BENCHMARK_DATA, 0, 1), k)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows, the same at every time."""
        first, last = rows.start // _BLOCK, -(-rows.stop // _BLOCK)
        made = np.concatenate([self._block(number) for number in range(first, last)])
        return made[rows.start - first * _BLOCK : rows.stop - first * _BLOCK]

    def _block(self, number: int) -> np.ndarray:
        rng = host_rng(Use.BENCHMARK_DATA, 0, 2, number)
        return overlapping(rng, _BLOCK, self._centres).astype(np.float16)


def held() -> int:
    """Bytes that this process holds beyond files."""
    return int(re.search(r'RssAnon:\s+(\d+)', Path('/proc/self/status').read_text())[1]) * 1024


def watched(function: Callable[[], object]) -> tuple[float, float, int]:
    """CPU and wall seconds of a call, and the bytes by which the process grew at most."""
    before, peak, over = held(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], held())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.process_time(), time.perf_counter()
    function()
    seconds = time.process_time() - began[0], time.perf_counter() - began[1]
    over.set()
    thread.join()
    return *seconds, peak[0] - before


def _bare(n: int, k: int, r: int) -> float:
    """CPU seconds of the bare product of n anchors with r rows, scaled from some of both."""
    # As many rows as there are, up to a size beyond which only the number of blocks grows.
    held_rows = min(r, 2**17)
    rows = jnp.asarray(Generated(held_rows, k)[0:held_rows].astype(np.float32))
    anchors = rows[:_ANCHORS]
    bare_product(anchors, rows).block_until_ready()
    times = []
    for _ in range(3):
        began = time.process_time()
        bare_product(anchors, rows).block_until_ready()
        times.append(time.process_time() - began)
    return sorted(times)[1] * n / len(anchors) * r / held_rows


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__, rounds=None)
    parser.add_argument('--exact', type=int, nargs='*', default=[20_000])
    parser.add_argument('--sizes', type=int, nargs='*', default=[100_000, 1_000_000])
    parser.add_argument('--landmarks', type=int, nargs='*', default=[4096, 16384])
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--generate', action='store_true', help='keep no file of features')
    parser.add_argument('--faiss', type=int, nargs='*', default=[], help='sizes for faiss')
    options = parser.parse_args(arguments)
    report = measure.Report('scale', options.json)
    cases = [(n, None) for n in options.exact]
    cases += [(n, count) for count in options.landmarks for n in options.sizes]
    for n, count in cases:
        _measure(report, n, count, options)
    for n in options.faiss:
        _faiss(report, n, options.features)


def _faiss(report: measure.Report, n: int, k: int) -> None:
    """Seconds of the 100 nearest of 2,048 anchors by faiss, scaled to n anchors."""
    import faiss

    rows = Generated(n, k)[0:n].astype(np.float32)
    rows -= rows.mean(axis=0)
    faiss.normalize_L2(rows)
    flat = faiss.IndexFlatIP(k)
    lists = round(4 * n**0.5)
    inverted = faiss.IndexIVFFlat(flat, k, lists, faiss.METRIC_INNER_PRODUCT)
    exact = faiss.IndexFlatIP(k)
    exact.add(rows)
    began = time.perf_counter()
    inverted.train(rows[: 64 * lists])
    inverted.add(rows)
    built = time.perf_counter() - began
    inverted.nprobe = 16
    found = {}
    for name, index in (('flat', exact), ('ivf', inverted)):
        began = time.process_time(), time.perf_counter()
        found[name] = index.search(rows[:_ANCHORS], _NEAREST)[1]
        cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
        same = [len(np.intersect1d(*pair)) for pair in zip(found[name], found['flat'], strict=True)]
        report.add(
            index=name,
            n=n,
            k=k,
            cpu_seconds=cpu * n / _ANCHORS,
            wall_seconds=wall * n / _ANCHORS,
            build_seconds=built if name == 'ivf' else 0.0,
            recall=float(np.mean(same)) / _NEAREST,
        )


def _measure(report: measure.Report, n: int, count: int | None, options) -> None:
    k = options.features
    made = Generated(n, k)
    with tempfile.TemporaryDirectory() as folder:
        rows = array_rows(made)
        if not options.generate:
            path = Path(folder) / 'features.npy'
            mapped = np.lib.format.open_memmap(path, 'w+', np.float16, (n, k))
            for start in range(0, n, _BLOCK):
                mapped[start : start + _BLOCK] = made[start : min(start + _BLOCK, n)]
            mapped.flush()
            del mapped
            rows = open_rows(str(path))
        scoring = []
        request = Request(landmarks=count)
        cpu, wall, memory = watched(lambda: scoring.append(score_rows(rows, request)))
    columns = scoring[0].columns
    bare = _bare(n, k, n if count is None else count)
    report.add(
        n=n,
        k=k,
        landmarks=count,
        cpu_seconds=cpu,
        over_bare=cpu / bare,
        wall_seconds=wall,
        held_gib=memory / 2**30,
        error=None if count is None else float(np.median(columns['error'])),
    )


if __name__ == '__main__':
    main()
