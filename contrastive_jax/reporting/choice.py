"""Chooses among cells by validation accuracy, so that no test accuracy has a say."""

from collections.abc import Sequence
from typing import NamedTuple

from contrastive_jax.errors import UserError
from contrastive_jax.reporting.collect import SELECTED_BY
from contrastive_jax.reporting.statistics import Cell, by_seed, summarise

__all__ = ['Choice', 'choose']


class Choice(NamedTuple):
    """The chosen cell.

    Attributes:
      place: of the chosen cell among all cells.
      tied: places of cells with the same mean, which come after it.
      skipped: places of cells without a finished run.
      unequal: whether the cells compared have finished runs of other seeds.
    """

    place: int
    tied: tuple[int, ...]
    skipped: tuple[int, ...]
    unequal: bool


def choose(cells: Sequence[Cell]) -> Choice:
    """The cell with the highest mean of `validation_accuracy` over its seeds.

    Raises:
      UserError: no cell has a finished run, or a finished run lacks the accuracy.
    """
    finished = {
        place: [run for run in cell.runs if run.status == 'finished']
        for place, cell in enumerate(cells)
    }
    lacking = [
        run.folder for runs in finished.values() for run in runs if run.number(SELECTED_BY) is None
    ]
    if lacking:
        have = f' and {len(lacking) - 1} more have' if len(lacking) > 1 else ' has'
        raise UserError(
            f'--select: {lacking[0]}{have} no {SELECTED_BY} in result.json, as runs of an earlier '
            'version or without labels. Leave them out; or move result.json away, and '
            'the same command of contrastive_jax.main probes the run again'
        )
    compared = [place for place, runs in finished.items() if runs]
    if not compared:
        raise UserError('--select: no cell has a finished run; leave it out, or finish the runs')
    values = {place: by_seed(cells[place], SELECTED_BY) for place in compared}
    means = {place: summarise(list(found.values())).mean for place, found in values.items()}
    best = max(means.values())
    place, *tied = (place for place in compared if means[place] == best)
    return Choice(
        place,
        tuple(tied),
        tuple(place for place, runs in finished.items() if not runs),
        len({frozenset(found) for found in values.values()}) > 1,
    )
