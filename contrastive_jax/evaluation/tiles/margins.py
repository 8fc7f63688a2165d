"""The supervised margin of rows that are read block by block.

Axes: n samples, k features, c rows of a block.
"""

import time

import jax
import numpy as np

from contrastive_jax.evaluation.tiles.reference import Reference
from contrastive_jax.graph.scores import class_margin, margin_rows
from contrastive_jax.numerics import host_unit_rows
from contrastive_jax.runtime import progress

__all__ = ['Margins']


class Margins:
    """`graph.scores.supervised_margin` of tiles, after one pass over all rows for the class sums.

    Attributes:
      classes: number of classes.
    """

    def __init__(self, reference: Reference, labels: np.ndarray):
        """Takes the rows, and `[n]` the class of each."""
        names, self._class_of = np.unique(labels, return_inverse=True)
        self.classes = len(names)
        self._reference = reference
        # In float64 a block takes twice the memory, and is copied once.
        self._block = max(1, reference.layout.block // 4)
        self._sums: np.ndarray | None = None

    def __call__(self, rows: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
        """The margins of as many samples as there are rows."""
        if self._sums is None:
            self._sums = self._class_sums()
        return {'supervised_margin': self._margin(rows, index, self._sums)}

    def seconds(self, rows: np.ndarray, index: np.ndarray) -> float:
        """Estimated time of both passes of this process, from some of these rows."""
        rows, index = (x[: margin_rows(self.classes)] for x in (rows, index))
        # The time does not depend on the values.
        sums = np.zeros((self.classes, self._reference.rows.width))
        began = time.perf_counter()
        np.add.at(sums, self._class_of[index], self._unit(rows))
        added = time.perf_counter()
        self._margin(rows, index, sums)
        taken = (added - began) + (time.perf_counter() - added) / jax.process_count()
        return taken * len(self._reference.rows) / len(rows)

    def _class_sums(self) -> np.ndarray:
        """`[classes, k]` sum of the directions of each class; every process takes all rows."""
        rows = self._reference.rows
        sums, start = np.zeros((self.classes, rows.width)), 0
        with progress.track((), 'classes', total=len(rows), unit='samples') as bar:
            for block in rows.blocks(self._block):
                unit = self._unit(block)
                np.add.at(sums, self._class_of[start : start + len(block)], unit)
                start += len(block)
                bar.update(len(block))
        return sums

    def _margin(self, rows: np.ndarray, index: np.ndarray, sums: np.ndarray) -> np.ndarray:
        margin = np.empty(len(rows))
        for start in range(0, len(rows), self._block):
            part = slice(start, start + self._block)
            margin[part] = class_margin(self._unit(rows[part]), self._class_of[index[part]], sums)
        return margin

    def _unit(self, rows: np.ndarray) -> np.ndarray:
        origin, mean = self._reference.centre
        centred = rows.astype(np.float64)
        centred -= origin
        centred -= mean
        return host_unit_rows(centred)
