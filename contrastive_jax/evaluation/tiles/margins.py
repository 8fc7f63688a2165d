"""The supervised margin of rows that are read block by block.

Axes: n samples, k features, c rows of a block.
"""

from collections.abc import Iterator

import numpy as np

from contrastive_jax.data.feature_rows import Rows
from contrastive_jax.data.survey import Survey
from contrastive_jax.graph.scores import class_margin
from contrastive_jax.numerics import host_unit_rows

__all__ = ['streamed_margin']


def streamed_margin(rows: Rows, surveyed: Survey, labels: np.ndarray, size: int) -> np.ndarray:
    """`graph.scores.supervised_margin` in two passes over the rows."""
    names, class_of = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(names), rows.width))

    def units() -> Iterator[tuple[slice, np.ndarray]]:
        start = 0
        for block in rows.blocks(size):
            centred = (block.astype(np.float64) - surveyed.origin) - surveyed.mean
            yield slice(start, start + len(block)), host_unit_rows(centred)
            start += len(block)

    for part, unit in units():
        np.add.at(sums, class_of[part], unit)
    margin = np.empty(len(rows))
    for part, unit in units():
        margin[part] = class_margin(unit, class_of[part], sums)
    return margin
