"""Difficulty of any number of samples: exact or by landmarks, over all devices and processes.

The features are read twice or more, block by block, and never held as a whole on the host. Anchors
are scored in tiles, and finished tiles can be kept, so that a scoring that was stopped goes on.

Axes: n samples, k features, r rows that an anchor is compared with.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from contrastive_jax.data.feature_rows import Rows, Survey, array_rows, survey
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.tile_plan import Layout, cost_text, lay_out
from contrastive_jax.evaluation.tile_store import TileStore
from contrastive_jax.graph import landmarks as by_landmarks
from contrastive_jax.graph import tiles
from contrastive_jax.graph._inputs import unit_rows
from contrastive_jax.graph.difficulty import SampleDifficulty
from contrastive_jax.graph.scores import boundary
from contrastive_jax.numerics import check_percentiles, percentile_rank
from contrastive_jax.randomness import STREAMS
from contrastive_jax.runtime import distributed, memory, progress
from contrastive_jax.training.devices import map_over_local

__all__ = [
    'COLUMNS',
    'Difficulty',
    'Request',
    'Scoring',
    'check_request',
    'difficulty',
    'score_rows',
]

COLUMNS = ('score', 'isolation', 'boundary', 'supervised_margin', 'partner')
# Share of the others that is the neighbourhood of `isolation`.
_NEAR = 0.01


class Difficulty(NamedTuple):
    """Difficulty of each sample, and where it comes from.

    Attributes:
      score: `[n]` in [0, 1], high = difficult.
      alpha: `[n]` mean cosine to its top band, the samples taken to be of its class.
      beta: `[n]` mean cosine to the rest, below both bands.
      gamma: `[n]` mean cosine to its difficult band.
      isolation: `[n]` in [-2, 2], high = difficult: `contrastive_jax.graph.isolation`.
      error: `[n]` estimated standard error of the score, or None where it is exact.
      low: lower ends of the intervals that hold at least 95 % of the time, or None where exact.
      high: their upper ends, or None where exact.
    """

    score: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    isolation: np.ndarray
    error: np.ndarray | None
    low: SampleDifficulty | None
    high: SampleDifficulty | None


class Request(NamedTuple):
    """What is computed.

    Attributes:
      pos_high: percentile at which the difficult band begins, in [0, pos_low].
      pos_low: percentile at which it ends, in [pos_high, 1].
      landmarks: number of landmarks, or None for all rows.
      seed: of the draw of landmarks.
      columns: of `COLUMNS`; 'score' is always computed.
    """

    pos_high: float = 0.1
    pos_low: float = 0.5
    landmarks: int | None = None
    seed: int = 0
    columns: tuple[str, ...] = ('score',)


class Scoring(NamedTuple):
    """Scores of all samples.

    Attributes:
      columns: by name, each `[n]`.
      checksum: SHA-256 of the features.
      layout: how the rows were cut.
    """

    columns: dict[str, np.ndarray]
    checksum: str
    layout: Layout


def difficulty(
    features: np.ndarray | jax.Array,
    *,
    pos_high: float = 0.1,
    pos_low: float = 0.5,
    landmarks: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Difficulty:
    """Difficulty of each sample among all others, for any number of samples.

    `contrastive_jax.graph.sample_difficulty` and `isolation` over all devices and processes. A
    memory map is read block by block. With landmarks each sample is compared with R others that
    are drawn without replacement, the time is linear in n, and `error`, `low` and `high` say how
    wrong the score may be.

    Example:
      >>> import numpy as np, contrastive_jax
      >>> features = np.random.default_rng(0).normal(size=(200, 8))
      >>> contrastive_jax.difficulty(features, progress=False).score.shape
      (200,)

    Args:
      features: `[n, k]` floats of any scale, the same in all processes.
      pos_high: percentile at which the difficult band begins, in [0, pos_low]. Percentiles count
        from the top: 0.1 is the most similar tenth.
      pos_low: percentile at which it ends, in [pos_high, 1].
      landmarks: number R of landmarks, 2 to n - 1; None to compare with all others.
      seed: of the draw of landmarks.
      progress: whether to show a bar, and before it the cost.

    Returns:
      NumPy arrays.

    Raises:
      UserError: percentiles out of order, landmarks out of range, features that are no floats
        `[n, k]` of at least two rows, a row that is zero or not finite, or more rows than fit into
        memory.

    Source: Section 5.1, Eq. 12, over a data set; landmarks: `contrastive_jax.graph.landmarks`.
    """
    shape = getattr(features, 'shape', None)
    if shape is None:
        kind = type(features).__name__
        raise UserError(f'features: {kind}; give a NumPy or JAX array of floats [n, k]')
    if shape[:1] == (1,):
        raise UserError('features: one row, and a score compares it with others; give at least two')
    request = Request(pos_high, pos_low, landmarks, seed, ('score', 'isolation'))
    with contextlib.nullcontext() if progress else _muted():
        found = score_rows(array_rows(features), request).columns

    def ends(which: str) -> SampleDifficulty | None:
        if landmarks is None:
            return None
        return SampleDifficulty(
            **{name: found[f'{name}_{which}'] for name in SampleDifficulty._fields}
        )

    plain = {name: found[name] for name in (*SampleDifficulty._fields, 'isolation')}
    return Difficulty(**plain, error=found.get('error'), low=ends('low'), high=ends('high'))


def score_rows(
    rows: Rows,
    request: Request,
    labels: np.ndarray | None = None,
    *,
    keep: Path | None = None,
    overwrite: bool = False,
    available: int | None = None,
) -> Scoring:
    """Computes the columns that a request names.

    Args:
      rows: features of n samples, the same in all processes.
      request: what to compute.
      labels: `[n]` class of each sample; 'supervised_margin' needs them.
      keep: folder for finished tiles, which the same call goes on from; None to keep none.
      overwrite: whether `keep` may hold tiles of another scoring, which are deleted.
      available: bytes that each device may take; None for what is free.

    Returns:
      The columns in all processes.

    Raises:
      UserError: a request that is not allowed or does not fit into memory, a bad row, a file that
        changes while it is read.
    """
    n, k = len(rows), rows.width
    columns = check_request(request, n, labels)
    devices = jax.local_device_count()
    available = memory.on_each_device() if available is None else available
    wanted = frozenset(columns)
    layout = lay_out(
        n,
        k,
        landmarks=request.landmarks,
        devices=devices,
        available=available,
        host=4 * n * (_num_columns(request, wanted)) // devices,
    )
    drawn = np.zeros(0, np.int64)
    if request.landmarks is not None:
        drawn = by_landmarks.draw(n, request.landmarks, request.seed)
    with progress.track((), 'checking', total=n, unit='samples') as bar:
        surveyed = survey(rows, drawn, bar.update)
    store = None
    if keep is not None:
        store = TileStore(keep)
        identity = {
            'checksum': surveyed.checksum,
            **request._asdict(),
            'columns': list(columns),
            'samples': n,
            'devices': devices,
            'processes': jax.process_count(),
            'streams': STREAMS,
        }
        layout = Layout(**store.open(identity, layout._asdict(), overwrite=overwrite))
    engine = _Engine(rows, request, surveyed, drawn, layout, store)
    densities = None
    passes = 1
    tile_columns = wanted & {'score', 'partner', 'isolation'}
    if 'isolation' in wanted:
        densities = engine.densities()
        passes += request.landmarks is None
    found = engine.run('score', tile_columns, densities, passes)
    if 'boundary' in wanted:
        found['boundary'] = boundary(found['score'], found['isolation'])
    if labels is not None and 'supervised_margin' in wanted:
        found['supervised_margin'] = _supervised_margin(rows, surveyed, labels, layout.block)
    rows.check_unchanged()
    return Scoring(found, surveyed.checksum, layout)


def check_request(request: Request, n: int, labels: np.ndarray | None) -> tuple[str, ...]:
    """The columns to compute, those that others need included, in order.

    Raises:
      UserError: percentiles out of order, landmarks out of range, or columns that cannot be had.
    """
    try:
        check_percentiles(request.pos_high, request.pos_low)
        if request.landmarks is not None:
            by_landmarks.check_landmarks(request.landmarks, n)
    except ValueError as error:
        raise UserError(str(error)) from error
    unknown = [name for name in request.columns if name not in COLUMNS]
    if unknown:
        why = ''
        if 'sas' in unknown:
            why = f'; sas needs k-means of all features in memory, {8 * n} bytes a feature'
        raise UserError(f'--columns={",".join(unknown)}: need some of {", ".join(COLUMNS)}{why}')
    wanted = {'score', *request.columns}
    if 'boundary' in wanted:
        wanted.add('isolation')
    if 'supervised_margin' in wanted and (labels is None or len(np.unique(labels)) < 2):
        raise UserError('--columns=supervised_margin: needs --labels of at least two classes')
    return tuple(name for name in COLUMNS if name in wanted)


def _num_columns(request: Request, wanted: frozenset) -> int:
    return len(wanted) + 4 + (9 if request.landmarks is not None else 0)


class _Engine:
    """Runs the tiles of this process on its devices."""

    def __init__(
        self,
        rows: Rows,
        request: Request,
        surveyed: Survey,
        drawn: np.ndarray,
        layout: Layout,
        store: TileStore | None,
    ):
        n = len(rows)
        self._rows, self._request, self._layout, self._store = rows, request, layout, store
        self._surveyed, self._drawn = surveyed, drawn
        self._devices = jax.local_device_count()
        self._exact = request.landmarks is None
        count = n - 1 if request.landmarks is None else request.landmarks
        self._index = np.arange(n, dtype=np.int32) if self._exact else drawn.astype(np.int32)
        self._at = by_landmarks.levels(request.pos_high, request.pos_low, max(count, 1), max(n, 2))
        if n == 1:
            self._at = self._at._replace(ranks=np.zeros(6, np.int32))
        self._near = np.array(percentile_rank(_NEAR, count), np.int32)
        self._unit = None if layout.streamed else self._put_rows()
        self._centre = surveyed.origin, surveyed.mean

    def densities(self) -> np.ndarray:
        """Mean cosine of each of the rows that anchors are compared with to its neighbourhood."""
        if self._exact:
            return self.run('density', frozenset({'density'}), None, 2)['density']
        # Every process computes those of the landmarks, which are few.
        chosen, size = self._surveyed.chosen, self._devices * self._layout.anchors
        step, parts = self._step(frozenset({'density'}), None), []
        for start in range(0, len(chosen), size):
            block = chosen[start : start + size]
            parts.append(step(block, self._index[start : start + size])['density'])
        return np.concatenate(parts)

    def run(
        self, stage: str, columns: frozenset, densities: np.ndarray | None, passes: int
    ) -> dict[str, np.ndarray]:
        """Columns of all samples."""
        n, own = len(self._rows), distributed.own_rows(len(self._rows))
        step = self._step(columns, densities)
        size = self._devices * self._layout.anchors
        starts = range(own.start, own.stop, size)
        ready = {s: None if self._store is None else self._store.read(stage, s) for s in starts}
        missing = [start for start, tile in ready.items() if tile is None]
        trial = self._try(step, missing, own.stop, passes) if missing else None
        found: dict[str, np.ndarray] = {}
        done = sum(min(size, own.stop - s) for s in starts) - sum(
            min(size, own.stop - s) for s in missing
        )
        total, rate = own.stop - own.start, _Rate()
        with progress.track((), stage, total=total, initial=done, unit='samples') as bar:
            for start, tile in self._tiles(stage, ready, missing, own.stop, step, trial):
                count = len(next(iter(tile.values())))
                for name, values in tile.items():
                    column = found.setdefault(name, np.empty(total, values.dtype))
                    column[start - own.start : start - own.start + count] = values
                if start in missing:
                    bar.set_postfix_str(f'{rate(count):.0f} samples/s')
                    bar.update(count)
        return {name: distributed.gather_rows(found[name], n) for name in sorted(found)}

    def _tiles(
        self,
        stage: str,
        ready: dict,
        missing: list[int],
        stop: int,
        step: Callable,
        trial: dict[str, np.ndarray] | None,
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """First row and columns of each tile of this process, read or computed."""
        size = self._devices * self._layout.anchors
        blocks = self._rows.blocks(size, missing[0], stop) if missing else iter(())
        for start in list(ready):
            block = next(blocks) if missing and start >= missing[0] else None
            tile = ready.pop(start)
            if tile is None and trial is not None:
                tile, trial = trial, None
            elif tile is None:
                assert block is not None
                tile = step(block, np.arange(start, start + len(block), dtype=np.int32))
            if start in missing:
                self._rows.check_unchanged()
                if self._store is not None:
                    self._store.write(stage, start, tile)
            yield start, tile

    def _try(
        self, step: '_Step', missing: list[int], stop: int, passes: int
    ) -> dict[str, np.ndarray] | None:
        """Says what the tiles will cost; returns the first one if it served to find out."""
        start, size = missing[0], self._devices * self._layout.anchors
        block = next(self._rows.blocks(size, start, min(start + size, stop)))
        index = np.arange(start, start + len(block), dtype=np.int32)
        seconds, tile = step.trial(block, index)
        seconds *= len(missing)
        rows, request = self._rows, self._request
        progress.say(
            cost_text(
                len(rows),
                rows.width,
                self._layout,
                landmarks=request.landmarks,
                stages=passes,
                num_bytes=rows.num_bytes,
                seconds=seconds * passes,
            )
        )
        return tile

    def _step(self, columns: frozenset, densities: np.ndarray | None) -> '_Step':
        n = len(self._index)
        cuts = tiles.Cuts(
            self._index,
            self._at,
            self._near,
            np.zeros(n, np.float32) if densities is None else densities,
        )
        return (_ByBlock if self._layout.streamed else _ByRows)(self, cuts, columns)

    def _put_rows(self) -> jax.Array:
        """Unit rows on every device, `[devices, r, k]`."""
        put = map_over_local(tiles.put_rows, (0, None, None, None, None), donate=(0,))
        k, r = self._rows.width, len(self._index)
        make = map_over_local(lambda _: jnp.zeros((r, k), jnp.float32), (0,))
        buffer, start = make(np.zeros(self._devices, np.float32)), 0
        for block in self._reference_blocks():
            origin, mean = self._surveyed.origin, self._surveyed.mean
            buffer = put(buffer, block, np.int32(start), origin, mean)
            start += len(block)
        return buffer

    def _reference_blocks(self) -> Iterator[np.ndarray]:
        size = self._layout.block
        if self._exact:
            yield from self._rows.blocks(size)
            return
        for start in range(0, len(self._surveyed.chosen), size):
            yield self._surveyed.chosen[start : start + size]


class _Step:
    """Scores one tile of anchors on all devices of this process."""

    def __init__(self, engine: _Engine, cuts: tiles.Cuts, columns: frozenset):
        self._engine, self._cuts, self._columns = engine, cuts, columns
        self._centred = map_over_local(tiles.centred_units, (0, None, None))

    def __call__(self, rows: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of as many anchors as there are rows, at most those of a tile."""
        count = len(rows)
        anchors, own = self._spread(rows, index)
        return {name: np.ravel(x)[:count].copy() for name, x in self._compute(anchors, own).items()}

    def trial(self, rows: np.ndarray, index: np.ndarray) -> tuple[float, dict | None]:
        """Seconds of a tile, and the tile if it was computed to find out."""
        raise NotImplementedError

    def _compute(self, anchors, own) -> dict[str, np.ndarray]:
        """Columns of spread anchors, `[devices, anchors]`."""
        raise NotImplementedError

    def _spread(self, rows, index):
        """Unit anchors and their indices, padded and spread over the devices."""
        devices, anchors = self._engine._devices, self._engine._layout.anchors
        missing = devices * anchors - len(rows)
        # No row has the index -1.
        index = np.pad(index, (0, missing), constant_values=-1).reshape(devices, anchors)
        rows = np.pad(rows, ((0, missing), (0, 0))).reshape(devices, anchors, -1)
        return self._centred(rows, *self._engine._centre), index


class _ByRows(_Step):
    """All rows lie on each device."""

    def __init__(self, engine, cuts, columns):
        super().__init__(engine, cuts, columns)
        function = partial(tiles.tile_by_rows, columns=columns, by_landmarks=not engine._exact)
        self._mapped = map_over_local(function, (0, 0, 0, None))

    def _compute(self, anchors, own):
        return jax.device_get(self._mapped(self._engine._unit, anchors, own, self._cuts))

    def trial(self, rows, index) -> tuple[float, dict[str, np.ndarray] | None]:
        """Seconds of a tile, once it is compiled, and the tile."""
        anchors, own = self._spread(rows, index)
        arguments = self._engine._unit, anchors, own, self._cuts
        self._mapped = self._mapped.lower(*arguments).compile()
        began = time.perf_counter()
        tile = self(rows, index)
        return time.perf_counter() - began, tile


class _ByBlock(_Step):
    """The rows pass over each tile in blocks."""

    def __init__(self, engine, cuts, columns):
        super().__init__(engine, cuts, columns)
        self._compare = map_over_local(
            tiles.compare_block, (0, 0, None, None, None, None), donate=(0,)
        )
        self._reduce = map_over_local(partial(tiles.tile_by_block, columns=columns), (0, 0, None))
        shape = engine._layout.anchors, len(engine._rows)
        self._make = map_over_local(lambda _: jnp.zeros(shape, jnp.float32), (0,))

    def _compute(self, anchors, own):
        similarity = self._empty()
        start = 0
        for block in self._engine._rows.blocks(self._engine._layout.block):
            similarity = self._compare(
                similarity, anchors, block, np.int32(start), *self._engine._centre
            )
            start += len(block)
        return jax.device_get(self._reduce(similarity, own, self._cuts))

    def _empty(self):
        return self._make(np.zeros(self._engine._devices, np.float32))

    def trial(self, rows, index) -> tuple[float, dict[str, np.ndarray] | None]:
        """Seconds of a tile, from two blocks and one reduction, each after one that compiles."""
        engine = self._engine
        anchors, own = self._spread(rows, index)
        similarity, seconds = self._empty(), []
        size = engine._layout.block
        for block in engine._rows.blocks(size, 0, min(3 * size, len(engine._rows))):
            began = time.perf_counter()
            similarity = self._compare(similarity, anchors, block, np.int32(0), *engine._centre)
            jax.block_until_ready(similarity)
            seconds.append(time.perf_counter() - began)
        for _ in range(2):
            began = time.perf_counter()
            jax.block_until_ready(self._reduce(similarity, own, self._cuts))
            reduced = time.perf_counter() - began
        return min(seconds) * -(-len(engine._rows) // size) + reduced, None


class _Rate:
    """Samples a second since the first tile."""

    def __init__(self):
        self._began, self._count = time.perf_counter(), 0

    def __call__(self, count: int) -> float:
        self._count += count
        return self._count / max(time.perf_counter() - self._began, 1e-9)


def _supervised_margin(rows: Rows, surveyed: Survey, labels: np.ndarray, size: int) -> np.ndarray:
    """`graph.scores.supervised_margin` in two passes over the rows."""
    names, class_of = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(names), rows.width))

    def units() -> Iterator[tuple[slice, np.ndarray]]:
        start = 0
        for block in rows.blocks(size):
            centred = (block.astype(np.float64) - surveyed.origin) - surveyed.mean
            yield slice(start, start + len(block)), unit_rows(centred)
            start += len(block)

    for part, unit in units():
        np.add.at(sums, class_of[part], unit)
    margin = np.empty(len(rows))
    for part, unit in units():
        classes = class_of[part]
        own = np.sum(unit * unit_rows(sums[classes] - unit), axis=1)
        similarity = unit @ unit_rows(sums).T
        similarity[np.arange(len(unit)), classes] = -np.inf
        margin[part] = similarity.max(axis=1) - own
    return margin


_muted = progress.muted
