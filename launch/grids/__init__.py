"""Ablation grids: one file for each table and figure of the paper.

A grid is a dict `CELLS`: the name of a cell, and the config fields in which it differs from the
config that the grid is laid over. The first cell is the baseline. Bands of similarity are the
config's own, which fit its number of classes.
"""

from typing import Any, NamedTuple

__all__ = ['PLAIN', 'ScoresOf', 'treated']


class ScoresOf(NamedTuple):
    """In place of a path: the `scores.npz` of the run of another cell with the same seed.

    Attributes:
      cell: whose run.
      by: the command that scores it, `score` or `verify`.
    """

    cell: str
    by: str = 'score'


def treated(
    select: str = 'difficult',
    *,
    remove: bool = False,
    margin: float = 0.0,
    temperature_scale: float = 1.0,
) -> dict[str, Any]:
    """The fields of a treatment of pairs, all of them, whatever the config says."""
    return {
        'pairs.select': select,
        'pairs.remove': remove,
        'pairs.margin': margin,
        'pairs.temperature_scale': temperature_scale,
    }


PLAIN = treated('none')
