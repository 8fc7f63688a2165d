"""Scores the samples of this process, tile by tile, on its devices.

Axes: n samples, r rows that an anchor is compared with.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator

import numpy as np

from contrastive_jax.evaluation.tiles.margins import Margins
from contrastive_jax.evaluation.tiles.plan import cost_text
from contrastive_jax.evaluation.tiles.reference import Reference
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.evaluation.tiles.steps import TileStep, make_step
from contrastive_jax.evaluation.tiles.store import TileStore
from contrastive_jax.graph import tiles
from contrastive_jax.graph.density import NEAR
from contrastive_jax.graph.landmarks import levels
from contrastive_jax.numerics import percentile_rank
from contrastive_jax.runtime import distributed, progress

__all__ = ['Engine']

# From the rows of a tile and their indices to its columns.
_Step = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


class Engine:
    """Runs the tiles of this process on its devices."""

    def __init__(
        self,
        request: Request,
        reference: Reference,
        store: TileStore | None,
        margins: Margins | None = None,
    ):
        """Takes what to compute, what to compare with, and where finished tiles are kept.

        `margins` are computed last, if there are classes.
        """
        n = len(reference.rows)
        count = len(reference.index) - 1
        self._request, self._reference, self._store = request, reference, store
        self._margins = margins
        self._at = levels(request.pos_high, request.pos_low, max(count, 1), max(n, 2))
        if n == 1:
            self._at = self._at._replace(ranks=np.zeros(6, np.int32))
        self._near = np.array(percentile_rank(NEAR, count), np.int32)
        self._cost_said = False

    def densities(self) -> np.ndarray:
        """Mean cosine of each of the rows that anchors are compared with to its neighbourhood."""
        reference = self._reference
        if not reference.by_landmarks:
            return self.run('density', frozenset({'density'}), None, 2)['density']
        # Every process computes those of the landmarks, which are few.
        chosen, size = reference.surveyed.chosen, reference.tile
        step, parts = self._step(frozenset({'density'}), None), []
        for start in range(0, len(chosen), size):
            block = chosen[start : start + size]
            parts.append(step(block, reference.index[start : start + size])['density'])
        return np.concatenate(parts)

    def run(
        self, stage: str, columns: frozenset, densities: np.ndarray | None, passes: int
    ) -> dict[str, np.ndarray]:
        """Columns of all samples."""
        step = self._step(columns, densities)
        # Those of all stages; a scoring that goes on may have done all of the first stage.
        later = passes - 1 if densities is None else 0

        def trial(start: int, share: float) -> dict[str, np.ndarray] | None:
            """The first tile to compute, with the share of this stage that is left."""
            return self._try(step, start, passes, (share + later) / passes)

        return self._run(stage, step, trial)

    def margins(self) -> np.ndarray:
        """Supervised margins of all samples."""
        assert self._margins is not None
        return self._run('margin', self._margins)['supervised_margin']

    def _run(
        self,
        stage: str,
        step: _Step,
        try_first: Callable[[int, float], dict[str, np.ndarray] | None] | None = None,
    ) -> dict[str, np.ndarray]:
        n = len(self._reference.rows)
        own = distributed.own_rows(n)
        size = self._reference.tile
        starts = range(own.start, own.stop, size)
        ready = {s: None if self._store is None else self._store.read(stage, s) for s in starts}
        missing = {start for start, tile in ready.items() if tile is None}
        trial = None
        if missing and try_first is not None:
            trial = try_first(min(missing), len(missing) / len(starts))
        gathered: dict[str, np.ndarray] = {}
        done = sum(min(size, own.stop - s) for s in starts if ready[s] is not None)
        total, rate = own.stop - own.start, _Rate()
        with progress.track((), stage, total=total, initial=done, unit='samples') as bar:
            for start, tile in self._tiles(stage, ready, missing, own.stop, step, trial):
                count = len(next(iter(tile.values())))
                for name, values in tile.items():
                    column = gathered.setdefault(name, np.empty(total, values.dtype))
                    column[start - own.start : start - own.start + count] = values
                if start in missing:
                    bar.set_postfix_str(f'{rate(count):.0f} samples/s')
                    bar.update(count)
        if not gathered:
            # More processes than shares of rows: this one has to gather nothing of the same kinds.
            tile = step(next(self._reference.rows.blocks(1, 0, 1)), np.zeros(1, np.int32))
            gathered = {name: values[:0] for name, values in tile.items()}
        return {name: distributed.gather_rows(gathered[name], n) for name in sorted(gathered)}

    def _tiles(
        self,
        stage: str,
        ready: dict,
        missing: Collection[int],
        stop: int,
        step: _Step,
        trial: dict[str, np.ndarray] | None,
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """First row and columns of each tile of this process, read or computed."""
        size = self._reference.tile
        first = min(missing, default=stop)
        blocks = self._reference.rows.blocks(size, first, stop) if missing else iter(())
        for start in list(ready):
            block = next(blocks) if start >= first else None
            tile = ready.pop(start)
            if tile is None and trial is not None:
                tile, trial = trial, None
            elif tile is None:
                assert block is not None
                tile = step(block, np.arange(start, start + len(block), dtype=np.int32))
            if start in missing:
                self._reference.rows.check_unchanged()
                if self._store is not None:
                    self._store.write(stage, start, tile)
            yield start, tile

    def _try(
        self, step: TileStep, start: int, passes: int, left: float
    ) -> dict[str, np.ndarray] | None:
        """Says once what the tiles will cost; returns the first one if it served to find out."""
        rows, request, size = self._reference.rows, self._request, self._reference.tile
        own = distributed.own_rows(len(rows))
        block = next(rows.blocks(size, start, min(start + size, own.stop)))
        index = np.arange(start, start + len(block), dtype=np.int32)
        seconds, tile = step.trial(block, index)
        if self._cost_said:
            return tile
        self._cost_said = True
        margins = self._margins
        progress.say(
            cost_text(
                len(rows),
                rows.width,
                self._reference.layout,
                landmarks=request.landmarks,
                stages=passes,
                num_bytes=rows.num_bytes,
                seconds=seconds * passes * math.ceil((own.stop - own.start) / size),
                left=left if left < 1 else None,
                classes=0 if margins is None else margins.classes,
                margin_seconds=0.0 if margins is None else margins.seconds(block, index),
            )
        )
        return tile

    def _step(self, columns: frozenset, densities: np.ndarray | None) -> TileStep:
        index = self._reference.index
        densities = np.zeros(len(index), np.float32) if densities is None else densities
        return make_step(
            self._reference, tiles.Cuts(index, self._at, self._near, densities), columns
        )


class _Rate:
    """Samples a second since the first tile."""

    def __init__(self):
        self._began, self._count = time.perf_counter(), 0

    def __call__(self, count: int) -> float:
        self._count += count
        return self._count / max(time.perf_counter() - self._began, 1e-9)
