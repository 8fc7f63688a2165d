"""Chooses among cells by validation accuracy, and never by test accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import SELECTED_BY
from contrastive_jax.reporting.statistics import Cell, by_seed, summarise

__all__ = ['Choice', 'choose']


class Choice(NamedTuple):
    """The chosen cell.

    Attributes:
      cell: index of the chosen cell among all cells.
      tied: indices of later cells with the same mean.
      skipped: indices of cells without a finished run.
      unequal: whether the compared cells have finished runs of different seeds.
    """

    cell: int
    tied: tuple[int, ...]
    skipped: tuple[int, ...]
    unequal: bool


def choose(cells: Sequence[Cell]) -> Choice:
    """The cell with the highest mean of `validation_accuracy` over its seeds.

    Raises:
      UserError: no cell has a finished run, or a finished run lacks the accuracy.
    """
    finished = {
        index: [run for run in cell.runs if run.status == 'finished']
        for index, cell in enumerate(cells)
    }
    lacking = [
        run.folder for runs in finished.values() for run in runs if run.number(SELECTED_BY) is None
    ]
    if lacking:
        have = f' and {len(lacking) - 1} more have' if len(lacking) > 1 else ' has'
        raise UserError(
            f'--select: {lacking[0]}{have} no {SELECTED_BY} in result.json, because an earlier '
            'version made it or because there are no labels. Leave these runs out; or move '
            'result.json away, and the same command of contrastive_jax.main probes the run again'
        )
    compared = [index for index, runs in finished.items() if runs]
    if not compared:
        raise UserError('--select: no cell has a finished run; leave it out, or finish the runs')
    accuracies = {index: by_seed(cells[index], SELECTED_BY) for index in compared}
    summaries = {index: summarise(list(some.values())) for index, some in accuracies.items()}
    means = {index: summary.mean for index, summary in summaries.items() if summary is not None}
    best = max(means.values())
    chosen, *tied = (index for index in compared if means.get(index) == best)
    return Choice(
        chosen,
        tuple(tied),
        tuple(index for index, runs in finished.items() if not runs),
        len({frozenset(some) for some in accuracies.values()}) > 1,
    )
