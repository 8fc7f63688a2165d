"""Scores one tile of anchors, whose rows are on the devices, or pass over them in blocks.

Axes: n samples, a anchors on each device, k features.
"""

import time
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from contrastive_jax.evaluation.tiles.reference import Reference
from contrastive_jax.graph import tiles
from contrastive_jax.training.devices import map_over_local

__all__ = ['TileStep', 'make_step']


@runtime_checkable
class TileStep(Protocol):
    """Scores one tile of anchors on all devices of this process."""

    def __call__(self, rows: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of as many anchors as there are rows, at most those of a tile."""

    def trial(self, rows: np.ndarray, index: np.ndarray) -> tuple[float, dict | None]:
        """Seconds of a tile, and the tile if it was computed to find out."""


def make_step(reference: Reference, cuts: tiles.Cuts, columns: frozenset[str]) -> TileStep:
    """The step that fits the layout.

    Args:
      reference: what anchors are compared with.
      cuts: how their cosines are reduced.
      columns: of 'score', 'partner', 'isolation', 'density'.

    Returns:
      The step. It takes the rows of a tile `[a, k]` and their indices `[a]`, and returns the
      columns by name, each `[a]`.
    """
    return (_ByRows if reference.unit is not None else _ByBlock)(reference, cuts, columns)


class _ByRows:
    """All rows lie on each device."""

    def __init__(self, reference: Reference, cuts: tiles.Cuts, columns: frozenset[str]):
        function = partial(tiles.tile_by_rows, columns=columns, by_landmarks=reference.by_landmarks)
        self._reference, self._cuts, self._spread = reference, cuts, _Spread(reference)
        self._mapped: Any = map_over_local(function, (0, 0, 0, None))

    def __call__(self, rows: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
        spread = self._spread(rows, index)
        return _joined(self._mapped(self._reference.unit, *spread, self._cuts), len(rows))

    def trial(self, rows: np.ndarray, index: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        """Seconds of a tile, once it is compiled, and the tile."""
        arguments = self._reference.unit, *self._spread(rows, index), self._cuts
        self._mapped = self._mapped.lower(*arguments).compile()
        began = time.perf_counter()
        tile = self(rows, index)
        return time.perf_counter() - began, tile


class _ByBlock:
    """The rows pass over each tile in blocks."""

    def __init__(self, reference: Reference, cuts: tiles.Cuts, columns: frozenset[str]):
        self._reference, self._cuts, self._spread = reference, cuts, _Spread(reference)
        self._compare = map_over_local(
            tiles.compare_block, (0, 0, None, None, None, None), donate=(0,)
        )
        self._reduce = map_over_local(partial(tiles.tile_by_block, columns=columns), (0, 0, None))
        shape = reference.layout.anchors, len(reference.rows)
        self._make = map_over_local(lambda _: jnp.zeros(shape, jnp.float32), (0,))

    def __call__(self, rows: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
        anchors, own = self._spread(rows, index)
        similarity, start = self._empty(), 0
        for block in self._reference.rows.blocks(self._reference.layout.block):
            similarity = self._add(similarity, anchors, block, start)
            start += len(block)
        return _joined(self._reduce(similarity, own, self._cuts), len(rows))

    def trial(self, rows: np.ndarray, index: np.ndarray) -> tuple[float, None]:
        """Seconds of a tile, from two blocks and one reduction, each after one that compiles."""
        anchors, own = self._spread(rows, index)
        n, size = len(self._reference.rows), self._reference.layout.block
        similarity, seconds = self._empty(), []
        for block in self._reference.rows.blocks(size, 0, min(3 * size, n)):
            began = time.perf_counter()
            similarity = jax.block_until_ready(self._add(similarity, anchors, block, 0))
            seconds.append(time.perf_counter() - began)
        for _ in range(2):
            began = time.perf_counter()
            jax.block_until_ready(self._reduce(similarity, own, self._cuts))
            reduced = time.perf_counter() - began
        return min(seconds) * -(-n // size) + reduced, None

    def _add(self, similarity, anchors, block, start):
        return self._compare(similarity, anchors, block, np.int32(start), *self._reference.centre)

    def _empty(self):
        return self._make(np.zeros(jax.local_device_count(), np.float32))


class _Spread:
    """Unit anchors and their indices, padded and spread over the devices, `[devices, a, ...]`."""

    def __init__(self, reference: Reference):
        self._anchors, self._centre = reference.layout.anchors, reference.centre
        self._units = map_over_local(tiles.centred_units, (0, None, None))

    def __call__(self, rows: np.ndarray, index: np.ndarray):
        devices, anchors = jax.local_device_count(), self._anchors
        missing = devices * anchors - len(rows)
        # No row has the index -1.
        index = np.pad(index, (0, missing), constant_values=-1).reshape(devices, anchors)
        rows = np.pad(rows, ((0, missing), (0, 0))).reshape(devices, anchors, -1)
        return self._units(rows, *self._centre), index


def _joined(columns, count: int) -> dict[str, np.ndarray]:
    """Columns of the first `count` anchors of all devices."""
    fetched = jax.device_get(columns)
    return {name: np.ravel(values)[:count].copy() for name, values in fetched.items()}
