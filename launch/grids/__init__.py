"""Ablation grids: one file for each table and figure of the paper.

A grid is a dict `CELLS`: the name of a cell, and the config fields in which it differs from the
config that the grid is laid over. The first cell is the baseline. Bands of similarity are the
config's own, which fit its number of classes; so are margin and temperature scale, unless a grid is
about them.
"""

from typing import NamedTuple

__all__ = ['PLAIN', 'ScoresOf']


class ScoresOf(NamedTuple):
    """In place of a path: the `scores.npz` of the run of another cell with the same seed.

    Attributes:
      cell: whose run.
      by: the command that scores it, `score` or `verify`.
    """

    cell: str
    by: str = 'score'


PLAIN = {'arm': 'simclr'}
