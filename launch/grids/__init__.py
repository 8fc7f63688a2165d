"""Ablation grids: one file for each table and figure of the paper, and for further questions.

A grid is a dict `CELLS`: for each cell, its name and the config fields in which it differs from the
config of the sweep. The report compares a cell with the untreated cell
of the same data, network and schedule. Similarity bands come from the config, where
they fit its number of classes; so do margin and temperature scale, unless the grid varies them.
"""

from typing import Any, NamedTuple

__all__ = ['PLAIN', 'Fields', 'ScoresOf']


class ScoresOf(NamedTuple):
    """Stands for the path of the `scores.npz` of another cell's run with the same seed.

    Attributes:
      cell: name of the other cell.
      by: command that scores its run, `score` or `verify`.
    """

    cell: str
    by: str = 'score'


# The fields of a cell by their paths.
Fields = dict[str, Any]

PLAIN: Fields = {'arm': 'simclr'}
