"""Does the theory predict the order in which the cells of a sweep come out?

    python -m studies.predicted_order --runs $(cat runs/thm45.txt)

The runs are those of the grid `cor41`, where the removed ratio varies, or of `thm45`, where the
factor rho of the temperature of difficult pairs does. For each seed the similarity model is fitted,
with labels, to the plain run, and each cell has a bound on its error,
`4 w delta / (1 - lambda) + 8 delta`, in three forms:

- `block`, `matched`: `lambda` is the exact eigenvalue `k + 1` of that graph, `w = 1`;
- `printed`: for removal the paper's fraction (Theorems 3.4 and 3.3); for rho the eigenvalue of
  'matched' with `w = 1 + (n_d/n)^2 (1/rho^2 - 1)`, the price of the weighted norm of Theorem 4.4,
  which at the best rho is that of Theorem 4.5 up to `c1/c2`.

By the score of difficulty the difficult images go first, at random all in proportion. A lower bound
should go with a higher accuracy: the table of correlations gives Spearman's between minus the bound
and the accuracy over the cells, mean over seeds with its 95 % t-interval. A form in which all cells
tie predicts nothing.

Axes: s seeds, c cells.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from scipy.stats import spearmanr

from contrastive_jax import theory
from contrastive_jax.data.sampling import representative
from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.reporting.collect import MEASURES, Run, as_text, find_runs, read_run
from contrastive_jax.runs.loading import load_run
from contrastive_jax.theory import SimilarityModel, error_bound
from studies.measures import interval
from studies.outputs import command

FORMS = ('printed', 'block', 'matched')
# It only sets the scale of the bounds, and so the order of no form.
_LABELLING_ERROR = 0.1
# Cells that tie on paper differ by rounding.
_DIGITS = 12


class Cell(NamedTuple):
    """What a cell does to the images or pairs.

    Attributes:
      method: of removal: 'difficulty' or 'random'; 'none' without.
      ratio: share of the images that is left out.
      rho: factor of the temperature of difficult pairs.
    """

    method: str = 'none'
    ratio: float = 0.0
    rho: float = 1.0

    @property
    def title(self) -> str:
        """A name for the table."""
        if self.ratio:
            return f'{self.method} {self.ratio}'
        return 'plain' if self.rho == 1 else f'rho {self.rho}'


PLAIN = Cell()


def cell_of(run: Run) -> Cell:
    """The cell of a run.

    Raises:
      SystemExit: a run of another kind.
    """
    config = run.config
    ratio, select = float(config['removal.ratio']), config['pairs.select']
    cell = Cell(
        config['removal.method'] if ratio else 'none',
        ratio,
        float(config['pairs.temperature_scale']) if select == 'difficult' else 1.0,
    )
    treated = float(config['pairs.margin']) if select == 'difficult' else 0.0
    removes = config['pairs.remove'] != as_text(False)
    others = select == 'all' or treated or removes
    if cell.method not in ('none', 'difficulty', 'random') or others:
        raise SystemExit(f'--runs={run.folder}: not a run of cor41 or thm45; give the runs of one')
    return cell


def of_removal(model: SimilarityModel, cell: Cell, k: int) -> theory.Bound:
    """The bounds of a model without a part of its images."""
    if cell.method == 'difficulty':
        left = model.removed(round(cell.ratio * model.samples_per_class))
    else:
        left = dataclasses.replace(
            model,
            samples_per_class=round((1 - cell.ratio) * model.samples_per_class),
            difficult_per_class=round((1 - cell.ratio) * model.difficult_per_class),
        )
    return theory.bounds(left, _LABELLING_ERROR, k).with_difficult


def of_factor(model: SimilarityModel, cell: Cell, k: int) -> theory.Bound:
    """The bounds of a model whose difficult pairs have another temperature."""
    block, matched = (
        theory.treated_spectrum(model, structure, temperature=cell.rho).eigenvalue(k + 1)
        for structure in get_args(theory.Structure)
    )
    share = model.difficult_per_class / model.samples_per_class
    price = 1 + share**2 * (cell.rho**-2 - 1)
    return theory.Bound(
        error_bound(_LABELLING_ERROR, matched, price),
        error_bound(_LABELLING_ERROR, block),
        error_bound(_LABELLING_ERROR, matched),
    )


def predicted(model: SimilarityModel, cells: Sequence[Cell], k: int) -> dict[str, np.ndarray]:
    """The bound of each cell, `[c]`, by form."""
    of = of_factor if any(cell.rho != 1 for cell in cells) else of_removal
    table = np.round([of(model, cell, k) for cell in cells], _DIGITS)
    return dict(zip(FORMS, table.T, strict=True))


def correlation(bounds: np.ndarray, accuracies: np.ndarray) -> float:
    """Spearman's correlation of minus the bound and the accuracy; NaN where either ties wholly."""
    if np.ptp(bounds) == 0 or np.ptp(accuracies) == 0:
        return float('nan')
    return float(spearmanr(-bounds, accuracies).statistic)


def fit(workdir: Path, images: int) -> tuple[SimilarityModel, int]:
    """The model of a plain run, as large as its data, and the number of its features.

    Raises:
      SystemExit: images without labels, or similarities that the theory does not cover.
    """
    run = load_run(workdir)
    split = run.construction.split
    if split.labels is None:
        raise SystemExit(f'--runs={workdir}: its images have no labels')
    drawn = representative(len(split.images), images, split.labels)
    rows, labels = extract_features(run.encode, split.images[drawn]), split.labels[drawn]
    pairs = run.config.pairs
    estimate = theory.estimate(rows, labels, pos_high=pairs.pos_high, pos_low=pairs.pos_low)
    classes = len(np.unique(labels))
    try:
        model = theory.fitted_model(estimate, classes, len(split.images) // classes)
    except ValueError as error:
        raise SystemExit(f'--runs={workdir}: {error}') from error
    return model, rows.shape[1]


def by_seed(folders: Sequence[str]) -> dict[int, dict[Cell, Run]]:
    """The finished runs by seed and cell; seeds have the same cells.

    Raises:
      SystemExit: a seed without a plain run, seeds with other cells, two runs of one seed and cell;
        runs of both grids; or no finished run.
    """
    runs: dict[int, dict[Cell, Run]] = {}
    unfinished = 0
    for folder in find_runs(folders):
        run = read_run(folder)
        if run.status == 'finished' and run.seed is not None:
            cell, cells = cell_of(run), runs.setdefault(run.seed, {})
            if cell in cells:
                raise SystemExit(
                    f'--runs: {cells[cell].folder} and {run.folder} have one seed and are both '
                    f'{cell.title}; give the runs of one grid with one setting'
                )
            cells[cell] = run
        else:
            unfinished += 1
    if unfinished:
        print(f'{unfinished} runs are not finished and are left out')
    if not runs:
        raise SystemExit('--runs: none is finished')
    for seed, cells in runs.items():
        if PLAIN not in cells:
            raise SystemExit(f'--runs: seed {seed} has no finished plain run, which the model fits')
        if cells.keys() != next(iter(runs.values())).keys():
            raise SystemExit(f'--runs: seed {seed} has not the same finished cells as the others')
        if any(cell.ratio for cell in cells) and any(cell.rho != 1 for cell in cells):
            raise SystemExit(
                '--runs: some remove images and some have a rho other than 1, whose bounds do not '
                'compare; give the runs of cor41 or those of thm45'
            )
    return dict(sorted(runs.items()))


def _interval(values: Sequence[float]) -> str:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return 'predicts nothing'
    if len(finite) < len(values):
        return f'{np.mean(finite):+.2f} ({len(finite)} of {len(values)} seeds, the others tie)'
    text, ends = f'{np.mean(values):+.2f}', interval(values)
    return text if ends is None else f'{text} [{max(ends[0], -1):+.2f}, {min(ends[1], 1):+.2f}]'


def report(
    runs: dict[int, dict[Cell, Run]], fit: Callable[[Path], tuple[SimilarityModel, int]]
) -> str:
    """The models, the table of cells and the table of correlations."""
    cells = sorted(next(iter(runs.values())))
    lines, bounds, accuracies = [], [], []
    for seed, found in runs.items():
        model, k = fit(Path(found[PLAIN].folder))
        lines.append(f'seed {seed}: {model}, {k} features')
        bounds.append(predicted(model, cells, k))
        results = [[found[cell].number(name) for cell in cells] for name in MEASURES]
        accuracies.append(dict(zip(MEASURES, np.array(results, float), strict=True)))
    lines += ['', f'| cell | {" | ".join(FORMS)} | {" | ".join(MEASURES.values())} |']
    lines.append('|---' * (1 + len(FORMS) + len(MEASURES)) + '|')
    for at, cell in enumerate(cells):
        means = [f'{np.mean([of[form][at] for of in bounds]):.7f}' for form in FORMS]
        means += [f'{100 * np.mean([of[name][at] for of in accuracies]):.2f}' for name in MEASURES]
        lines.append(f'| {cell.title} | {" | ".join(means)} |')
    lines += ['', f'| correlation | {" | ".join(MEASURES.values())} |']
    lines.append('|---' * (1 + len(MEASURES)) + '|')
    for form in FORMS:
        columns = (
            _interval(
                [
                    correlation(of[form], measured[name])
                    for of, measured in zip(bounds, accuracies, strict=True)
                ]
            )
            for name in MEASURES
        )
        lines.append(f'| {form} | {" | ".join(columns)} |')
    return '\n'.join(lines)


def main() -> None:
    """Parses the options and prints the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--runs', nargs='+', required=True, help='workdirs of the grid')
    parser.add_argument('--images', type=int, default=2000, help='sample that the model fits')
    options = parser.parse_args()
    print(report(by_seed(options.runs), lambda workdir: fit(workdir, options.images)))


if __name__ == '__main__':
    command(main)
