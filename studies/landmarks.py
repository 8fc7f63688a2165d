"""Do the errors of the difficulty by landmarks hold? Coverage of the intervals, error against R.

    python -m contrastive_jax.main --config=configs/digits.py --workdir=runs/digits
    python -m studies.landmarks --runs digits=runs/digits --cifar=DIR --out=OUT

Sources: the features of trained encoders; the first principal components of the pixels of CIFAR-10,
of images drawn from its training split; and clustered noise of 200,000 rows. A subset of the
anchors is scored exactly, and then by landmarks from many draws.

Axes: n samples, a anchors, k features.
"""

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from contrastive_jax.evaluation import extract_features
from contrastive_jax.graph import SampleDifficulty, landmarks, tiles
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.reporting import style
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runtime.files import write_json
from studies.outputs import as_path, check_new, command

_BANDS = ((0.1, 0.5), (0.01, 0.1))
# Of 95 % under a normal distribution.
_Z = 1.959964
_SIZES = (256, 1024, 4096, 16384)
_TILE = jax.jit(tiles.tile_by_rows, static_argnames=('columns', 'by_landmarks'))


class Cell(NamedTuple):
    """What was found for one source, band and number of landmarks.

    Attributes:
      source: name of the features.
      band: pos_high and pos_low.
      landmarks: R.
      rmse: root mean square error of the score over anchors and draws.
      claimed: root mean square of the estimated standard error.
      covered: share of anchors and draws whose 95 % interval holds the exact score.
      guaranteed: least share, over score, alpha, beta and gamma, of guaranteed intervals that hold.
      width: mean width of the guaranteed interval of the score.
    """

    source: str
    band: tuple[float, float]
    landmarks: int
    rmse: float
    claimed: float
    covered: float
    guaranteed: float
    width: float


def trained(workdir: Path) -> np.ndarray:
    """Features of the images that a run trained on."""
    run = load_run(workdir)
    return np.asarray(extract_features(run.encode, run.construction.split.images))


def cifar(folder: Path, count: int = 20_000, components: int = 64) -> np.ndarray:
    """First principal components of the pixels of some training images."""
    import tensorflow_datasets as tfds
    from sklearn.decomposition import PCA

    source = tfds.data_source('cifar10', split='train', data_dir=folder)
    rows = host_rng(Use.LANDMARK_STUDY, 1).choice(len(source), count, replace=False)
    images = np.stack([source[int(row)]['image'] for row in rows])
    pixels = images.reshape(count, -1).astype(np.float32) / 255
    return PCA(components, svd_solver='covariance_eigh').fit_transform(pixels)


def noise(n: int = 200_000, k: int = 64) -> np.ndarray:
    """Ten classes that overlap."""
    rng = host_rng(Use.LANDMARK_STUDY, 2)
    centres = rng.normal(size=(10, k)).astype(np.float32)
    return centres[rng.integers(10, size=n)] + 1.5 * rng.standard_normal((n, k), np.float32)


def _units(features: np.ndarray) -> np.ndarray:
    rows = features.astype(np.float32)
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _scores(unit, rows, anchors, at, by_landmarks: bool) -> dict[str, np.ndarray]:
    """Columns of some anchors, compared with some rows."""
    cuts = tiles.Cuts(
        rows.astype(np.int32), at, np.array(1, np.int32), np.zeros(len(rows), np.float32)
    )
    own = anchors.astype(np.int32)
    columns = frozenset({'score'})
    return jax.device_get(
        _TILE(unit[rows], unit[anchors], own, cuts, columns=columns, by_landmarks=by_landmarks)
    )


def calibrate(name, features, band, sizes, draws: int, num_anchors: int) -> list[Cell]:
    """Compares scores by landmarks with exact ones."""
    unit, n = _units(features), len(features)
    anchors = host_rng(Use.LANDMARK_STUDY, 0).choice(n, min(num_anchors, n), replace=False)
    exact = _scores(unit, np.arange(n), anchors, landmarks.levels(*band, n - 1, n), False)
    cells = []
    for count in (size for size in sizes if size < n):
        at = landmarks.levels(*band, count, n)
        found = [
            _scores(unit, landmarks.draw_rows(n, count, seed), anchors, at, True)
            for seed in range(draws)
        ]
        cells.append(_compare(name, band, count, found, exact))
        print(_row(cells[-1]), flush=True)
    return cells


def _compare(name, band, count, found, exact) -> Cell:
    score, error = (np.stack([draw[x] for draw in found]) for x in ('score', 'error'))
    off = score - exact['score']
    held = [
        np.mean(
            [(draw[f'{x}_low'] <= exact[x]) & (exact[x] <= draw[f'{x}_high']) for draw in found]
        )
        for x in SampleDifficulty._fields
    ]
    width = np.mean([draw['score_high'] - draw['score_low'] for draw in found])
    return Cell(
        name,
        band,
        count,
        float(np.sqrt(np.mean(off**2))),
        float(np.sqrt(np.mean(error**2))),
        float(np.mean(np.abs(off) <= _Z * error)),
        float(min(held)),
        float(width),
    )


def slope(cells: list[Cell]) -> float:
    """Exponent of the error as a power of R, by least squares."""
    logs = np.log([(cell.landmarks, cell.rmse) for cell in cells])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


_HEAD = '| source | band | R | error | claimed | 95 % covered | guaranteed covered | width |'


def _row(cell: Cell) -> str:
    high, low = cell.band
    return (
        f'| {cell.source} | {high}-{low} | {cell.landmarks} | {cell.rmse:.4f} | '
        f'{cell.claimed:.4f} | {100 * cell.covered:.1f} % | {100 * cell.guaranteed:.2f} % | '
        f'{cell.width:.3f} |'
    )


def draw(cells: list[Cell], path: Path) -> None:
    """Error against R, measured and claimed, one line for each source and band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.subplots()
    groups = sorted({(cell.source, cell.band) for cell in cells})
    for colour, group in zip(itertools.cycle(style.LIGHT), groups, strict=False):
        own = [cell for cell in cells if (cell.source, cell.band) == group]
        sizes = [cell.landmarks for cell in own]
        label = f'{group[0]}, {group[1][0]}-{group[1][1]}'
        axes.loglog(sizes, [cell.rmse for cell in own], 'o-', color=colour, label=label)
        axes.loglog(sizes, [cell.claimed for cell in own], 'x--', color=colour)
    axes.set_xlabel('landmarks R')
    axes.set_ylabel('error of the score (dashed: estimated)')
    axes.legend(fontsize='small')
    style.save(figure, path)


def main() -> None:
    """Parses the options, measures, prints a table, draws a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', nargs='*', default=[], help='trained runs, NAME=WORKDIR')
    parser.add_argument('--cifar', type=as_path, help='data_dir of TFDS that holds cifar10')
    parser.add_argument('--draws', type=int, default=20)
    parser.add_argument('--anchors', type=int, default=500)
    parser.add_argument(
        '--out', type=as_path, required=True, help='folder for landmarks.json, .png'
    )
    options = parser.parse_args()
    check_new(options.out / 'landmarks.json', options.out / 'landmarks.png')
    sources = {'noise': noise()}
    for name, _, workdir in (run.partition('=') for run in options.runs):
        sources[f'{name}, trained'] = trained(as_path(workdir))
    if options.cifar:
        sources['CIFAR-10, PCA'] = cifar(options.cifar)
    print(f'{_HEAD}\n{"|---" * 8}|')
    cells = []
    for name, features in sources.items():
        sizes = _SIZES if len(features) > 2000 else (64, 128, 256, 512, 1024)
        for band in _BANDS:
            own = calibrate(name, features, band, sizes, options.draws, options.anchors)
            print(f'slope of the error of {name}, {band}: {slope(own):.2f}')
            cells += own
    options.out.mkdir(parents=True, exist_ok=True)
    draw(cells, options.out / 'landmarks.png')
    write_json(options.out / 'landmarks.json', {'cells': [cell._asdict() for cell in cells]})


if __name__ == '__main__':
    command(main)
