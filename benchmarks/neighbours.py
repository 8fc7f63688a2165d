"""`sample_difficulty` beside exact neighbour searches that yield the same thresholds.

    python -m benchmarks.neighbours --sizes 10000 20000 --peer .venv-peer/bin/python --json out.json

Each search finds the `ceil(pos_low (n - 1))` largest cosines of every row, which is what thresholds
and means of the bands need: scikit-learn's brute force, and faiss's flat index. The searches run
in the environment of `peer/setup.sh`, stopped while this side runs.

Axes: n samples, k features.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.end_to_end import compare

_PEER = Path(__file__).parent / 'peer' / 'neighbours.py'
_HIGH, _LOW = 0.1, 0.2


def serve(features: str) -> None:
    """Our side, as the sides of `end_to_end`."""
    from contrastive_jax.graph import sample_difficulty

    rows = jnp.asarray(np.load(features))
    print('ready', flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            found = sample_difficulty(rows, pos_high=_HIGH, pos_low=_LOW, center=False)
            jax.block_until_ready(found)
        print(time.perf_counter() - began, float(found.alpha[0]), flush=True)


def main() -> None:
    """Parses the options, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--peer', help='Python of the environment of peer/setup.sh')
    parser.add_argument('--sizes', type=int, nargs='+', default=[10_000, 20_000])
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', help='file to write')
    parser.add_argument('--serve', metavar='FEATURES', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)

    rows, top = [], measure.ceiling()
    for n in options.sizes:
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(10, options.features))
        noise = rng.normal(size=(n, options.features), scale=1.5)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / 'features.npy')
            np.save(file, (centres[rng.integers(10, size=n)] + noise).astype(np.float32))
            sides = {
                'sample_difficulty': [
                    sys.executable,
                    '-m',
                    'benchmarks.neighbours',
                    '--serve',
                    file,
                ],
            }
            count = math.ceil(_LOW * (n - 1))
            for name in ('faiss', 'scikit-learn') if options.peer else ():
                sides[name] = [options.peer, str(_PEER), file, name, str(count)]
            times = compare(sides, steps=1, rounds=options.rounds)
        for name, taken in times.items():
            row = {
                'n': n,
                'side': name,
                'seconds': statistics.median(taken),
                'over_ours': measure.ratio(taken, times['sample_difficulty']),
            }
            rows.append(row)
            print(
                f'{n:8d}  {name:18s} {row["seconds"]:8.2f} s  over ours {row["over_ours"]}',
                flush=True,
            )
    measure.write(options.json, 'neighbours', rows, top)
    return None


if __name__ == '__main__':
    main()
