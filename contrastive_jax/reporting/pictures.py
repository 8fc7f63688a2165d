"""What the figures of a report show: accuracies of seeds as dots, monitored numbers as curves.

The page draws them with Bokeh, a paper with matplotlib.

Axes: s seeds, e epochs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from contrastive_jax.reporting.collect import MEASURES, MONITOR
from contrastive_jax.reporting.statistics import Cell, Summary, by_seed, curves, summarise

__all__ = ['NOTE', 'Curve', 'Dots', 'Picture', 'pictures_of']

NOTE = (
    'Accuracies: each seed is a dot; the bar is mean ± standard deviation. Curves: mean over the '
    'seeds of finished runs, steps averaged within each epoch; the band is ± one standard '
    'deviation. A treatment changes the loss itself: compare courses, not heights. The monitor '
    'looks at images that a run trains on: where some are removed or mixed, alpha, beta, gamma and '
    'purity are those of other images.'
)
_CURVES = {
    'loss': 'Loss',
    'different_class_share': 'Share of the selected pairs that truly differ in class',
    f'{MONITOR}knn': 'Monitor: test accuracy of 20 nearest neighbours',
    f'{MONITOR}rank': 'Monitor: directions that the features use (RankMe)',
    f'{MONITOR}alignment': 'Monitor: alignment of two views, low is good',
    f'{MONITOR}uniformity': 'Monitor: uniformity, low is even',
    f'{MONITOR}alpha': 'Monitor: alpha, mean cosine of pairs of one class',
    f'{MONITOR}gamma': 'Monitor: gamma, mean cosine of difficult pairs',
    f'{MONITOR}beta': 'Monitor: beta, mean cosine of easy pairs',
    f'{MONITOR}ordered': 'Monitor: whether beta < gamma < alpha',
    f'{MONITOR}band_purity': 'Monitor: share of the pairs in the band that truly differ in class',
}


class Dots(NamedTuple):
    """One accuracy of each seed of a cell.

    Attributes:
      cell: index of the cell.
      seeds: the seeds that have the accuracy.
      values: `[s]` their accuracies in %.
      summary: mean and standard deviation of the values.
    """

    cell: int
    seeds: list[int]
    values: Float[np.ndarray, ' s']
    summary: Summary

    def heights(self) -> Float[np.ndarray, ' s']:
        """Where the dots are: below the bar, a little apart, since seeds may have equal values."""
        count = len(self.values)
        return self.cell + 0.25 + 0.12 * np.linspace(-1, 1, count) * (count > 1)


class Curve(NamedTuple):
    """Mean and standard deviation of a number over the epochs.

    Attributes:
      cell: index of the cell.
      epochs: the epochs that all its runs have.
      mean: `[e]` means over the seeds.
      std: `[e]` standard deviations of a sample; None of a single seed.
      seeds: number of seeds.
    """

    cell: int
    epochs: list[int]
    mean: Float[np.ndarray, ' e']
    std: Float[np.ndarray, ' e'] | None
    seeds: int


class Picture(NamedTuple):
    """One figure, of dots or of curves; cells without numbers have none.

    Attributes:
      name: name of the measure.
      title: what it shows.
      x_label: label of the abscissa.
      y_label: label of the ordinate.
      dots: the accuracies of the cells.
      curves: the curves of the cells.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    dots: Sequence[Dots] = ()
    curves: Sequence[Curve] = ()


def pictures_of(cells: Sequence[Cell]) -> list[Picture]:
    """The figures of the cells; those without any number are left out."""
    recorded = {name for cell in cells for run in cell.runs for name in run.curves}
    drawn = (*(name for name in _CURVES if name in recorded), *sorted(recorded - _CURVES.keys()))
    both = (
        *(_accuracy(cells, name, title) for name, title in MEASURES.items()),
        *(_monitored(cells, name) for name in drawn),
    )
    return [picture for picture in both if picture.dots or picture.curves]


def _accuracy(cells: Sequence[Cell], name: str, title: str) -> Picture:
    dots = []
    for index, cell in enumerate(cells):
        percent = {seed: 100 * value for seed, value in by_seed(cell, name).items()}
        summary = summarise(list(percent.values()))
        if summary is not None:
            dots.append(Dots(index, list(percent), np.array(list(percent.values())), summary))
    return Picture(name, f'Test accuracy: {title}', 'test accuracy, %', 'cell', dots=dots)


def _monitored(cells: Sequence[Cell], name: str) -> Picture:
    drawn = []
    for index, cell in enumerate(cells):
        epochs, values = curves(cell, name)
        if epochs:
            std = values.std(0, ddof=1) if len(values) > 1 else None
            # The first epoch has number 0 in the log.
            after = [epoch + 1 for epoch in epochs]
            drawn.append(Curve(index, after, values.mean(0), std, len(values)))
    label = name.removeprefix(MONITOR).replace('_', ' ')
    return Picture(name, _CURVES.get(name, name), 'epoch', label, curves=drawn)
