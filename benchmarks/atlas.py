"""Size of an atlas, and how long a browser takes to open it, by the number of samples.

    python -m benchmarks.atlas --samples 1347 10000 50000

Opens each page several times in headless Chromium, each in a window of its own without a cache, and
prints the median and the range until the page can be used.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.reporting.atlas.content import Content
from contrastive_jax.reporting.atlas.page import atlas_page

_SIDE, _CLASSES, _NEIGHBOURS = 32, 10, 8
_NUMBERS = ('score', 'alpha', 'beta', 'gamma', 'isolation', 'duplicate_z', 'outlier_z')


def content(n: int) -> Content:
    """Random samples; each image is a grid of 8 x 8 random colours with noise."""
    rng = host_rng(Use.BENCHMARK_DATA, 0)
    coarse = rng.integers(0, 200, (n, 8, 8, 3), dtype=np.uint8)
    images = coarse.repeat(_SIDE // 8, axis=1).repeat(_SIDE // 8, axis=2)
    images += rng.integers(0, 32, images.shape, dtype=np.uint8)
    labels = rng.integers(0, _CLASSES, n)
    return Content(
        title=f'{n} random samples',
        index=np.arange(n),
        place=rng.normal(size=(n, 2)),
        map_name='nothing',
        numbers={name: rng.random(n) for name in _NUMBERS},
        verdict=tuple(VERDICTS[code] for code in rng.integers(0, len(VERDICTS), n)),
        nearest=rng.integers(0, n, (n, _NEIGHBOURS)),
        partners=rng.integers(0, n, (n, _NEIGHBOURS)),
        labels=tuple(f'class {label}' for label in labels),
        files=None,
        images=images,
        dynamics=None,
        notes=(),
    )


def opening_times(path: Path, rounds: int) -> list[float]:
    """Seconds from asking for the page until its table is filled."""
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as playwright:
        for _ in range(rounds):
            browser = playwright.chromium.launch(
                executable_path=shutil.which('chromium'), args=['--no-sandbox']
            )
            tab = browser.new_page()
            start = time.perf_counter()
            tab.goto(path.as_uri())
            tab.wait_for_selector('html[data-ready=yes]', timeout=300_000)
            times.append(time.perf_counter() - start)
            browser.close()
    return times


def main() -> None:
    """Prints one line for each number of samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--samples', type=int, nargs='+', default=[1347, 10_000, 50_000])
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for n in arguments.samples:
            path = Path(folder) / 'atlas.html'
            start = time.perf_counter()
            path.write_text(atlas_page(content(n)))
            written = time.perf_counter() - start
            times = opening_times(path, arguments.rounds)
            print(
                f'{n} samples: {path.stat().st_size / 1e6:.1f} MB, page made in {written:.1f} s, '
                f'opened in {statistics.median(times):.1f} s '
                f'({min(times):.1f}-{max(times):.1f})',
                flush=True,
            )


if __name__ == '__main__':
    main()
