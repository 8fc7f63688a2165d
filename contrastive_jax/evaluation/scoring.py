"""Difficulty of any number of samples: exact or by landmarks, over all devices and processes.

The features are read twice or more, block by block, and never held as a whole on the host. Anchors
are scored in tiles, and finished tiles can be kept, so that a scoring that was stopped goes on.

Axes: n samples, k features, r rows that an anchor is compared with.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from contrastive_jax.data.feature_rows import Rows, array_rows
from contrastive_jax.data.survey import survey_rows, warn_if_collapsed
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.tiles.engine import Engine
from contrastive_jax.evaluation.tiles.margins import Margins
from contrastive_jax.evaluation.tiles.plan import TileLayout, plan_tiles
from contrastive_jax.evaluation.tiles.reference import make_reference
from contrastive_jax.evaluation.tiles.request import Request, check_request, small_band
from contrastive_jax.evaluation.tiles.store import TileStore
from contrastive_jax.graph.difficulty import SampleDifficulty
from contrastive_jax.graph.landmarks import draw_rows
from contrastive_jax.graph.scores import boundary
from contrastive_jax.randomness import HOST_STREAMS
from contrastive_jax.runtime import distributed, memory, progress
from contrastive_jax.runtime.progress import muted

__all__ = ['Difficulty', 'Scoring', 'difficulty', 'score_rows']


class Difficulty(NamedTuple):
    """Difficulty of each sample, and where it comes from.

    Attributes:
      score: `[n]` in [0, 1], high = difficult.
      alpha: `[n]` mean cosine to its top band, the samples taken to be of its class.
      beta: `[n]` mean cosine to the rest, below both bands.
      gamma: `[n]` mean cosine to its difficult band.
      isolation: `[n]` in [-2, 2], high = difficult: `contrastive_jax.graph.isolation`.
      error: `[n]` estimated standard error of the score, or None without landmarks.
      low: lower ends of the intervals that hold at least 95 % of the time, if few cosines of a
        sample are equal; None without landmarks.
      high: their upper ends, or None without landmarks.
    """

    score: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    isolation: np.ndarray
    error: np.ndarray | None
    low: SampleDifficulty | None
    high: SampleDifficulty | None


class Scoring(NamedTuple):
    """Scores of all samples.

    Attributes:
      columns: by name, each `[n]`.
      checksum: SHA-256 of the features.
      layout: how the rows were cut.
    """

    columns: dict[str, np.ndarray]
    checksum: str
    layout: TileLayout


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
      progress: whether to show a bar, and before it the cost and a note on too few landmarks.

    Returns:
      NumPy arrays.

    Raises:
      UserError: percentiles out of order, landmarks out of range, features that are no floats
        `[n, k]` of at least two rows, a row that is zero or not finite, or more rows than fit into
        memory.

    Source: Section 5.1, Eq. 12, over a data set; landmarks: `contrastive_jax.graph.landmarks`.
    """
    # Their operations mean something else.
    masked = isinstance(features, np.ma.MaskedArray | np.matrix)
    if masked or not isinstance(features, np.ndarray | jax.Array):
        kind = type(features).__name__
        cure = {
            'Tensor': ': features.float().cpu().numpy()',
            'list': ': numpy.asarray(features)',
            'DataFrame': ': features.to_numpy()',
        }.get(kind, '')
        raise UserError(f'features: {kind}; give a NumPy or JAX array of floats [n, k]{cure}')
    if features.shape[:1] == (1,):
        raise UserError('features: one row, but a score compares rows; give at least two rows')
    request = Request(pos_high, pos_low, landmarks, seed, ('score', 'isolation'))
    with contextlib.nullcontext() if progress else muted():
        columns = score_rows(array_rows(features), request).columns

    def ends(which: str) -> SampleDifficulty | None:
        if landmarks is None:
            return None
        return SampleDifficulty(
            **{name: columns[f'{name}_{which}'] for name in SampleDifficulty._fields}
        )

    plain = {name: columns[name] for name in (*SampleDifficulty._fields, 'isolation')}
    return Difficulty(**plain, error=columns.get('error'), low=ends('low'), high=ends('high'))


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
    n, wanted = len(rows), frozenset(check_request(request, len(rows), rows.width, labels))
    layouts: list[TileLayout] = []
    # Each process measures its own memory, and all have to go on, or none.
    labels = labels if 'supervised_margin' in wanted else None
    distributed.by_all(
        lambda: layouts.append(_layout(rows, request, len(wanted), labels, available))
    )
    (layout,) = layouts
    if note := small_band(request, n):
        progress.say(note)
    drawn = None
    if request.landmarks is not None:
        drawn = draw_rows(n, request.landmarks, request.seed)
    with progress.track((), 'checking', total=n, unit='samples') as bar:
        surveyed = survey_rows(rows, np.zeros(0, np.int64) if drawn is None else drawn, bar.update)
    warn_if_collapsed(surveyed.spread, rows.source)
    store = None
    if keep is not None:
        store = TileStore(keep)
        identity = _identity(request, wanted, surveyed.checksum, n, labels)
        layout = TileLayout(**store.open(identity, layout._asdict(), overwrite=overwrite))
    try:
        reference = make_reference(rows, surveyed, layout, drawn)
        margins = None if labels is None else Margins(reference, labels)
        engine = Engine(request, reference, store, margins)
        densities, passes = None, 1
        if 'isolation' in wanted:
            densities = engine.densities()
            passes += request.landmarks is None
        columns = engine.run('score', wanted & {'score', 'partner', 'isolation'}, densities, passes)
        if 'boundary' in wanted:
            columns['boundary'] = boundary(columns['score'], columns['isolation'])
        if margins is not None:
            columns['supervised_margin'] = engine.margins()
        rows.check_unchanged()
        return Scoring(columns, surveyed.checksum, layout)
    finally:
        if store is not None:
            store.release()


def _layout(
    rows: Rows, request: Request, columns: int, labels: np.ndarray | None, available: int | None
) -> TileLayout:
    """The layout for what is asked for, in the memory that is there."""
    devices = jax.local_device_count()
    # The bands are columns too, and with landmarks their bounds and the error.
    columns += 4 + (9 if request.landmarks is not None else 0)
    return plan_tiles(
        len(rows),
        rows.width,
        landmarks=request.landmarks,
        devices=devices,
        available=memory.on_each_device() if available is None else available,
        host=4 * len(rows) * columns // devices,
        classes=0 if labels is None else len(np.unique(labels)),
    )


def _identity(
    request: Request, wanted: frozenset[str], checksum: str, n: int, labels: np.ndarray | None
) -> dict:
    """What the bits of a scoring depend on."""
    classes = {}
    if labels is not None:
        class_of = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        classes['labels'] = hashlib.sha256(class_of.data).hexdigest()
    return {
        'checksum': checksum,
        **request._asdict(),
        'columns': sorted(wanted),
        'samples': n,
        'devices': jax.local_device_count(),
        'processes': jax.process_count(),
        'streams': HOST_STREAMS,
        **classes,
    }
