"""How a scoring is cut into tiles, what it costs, and whether it fits into memory.

Axes: n samples, k features, r rows that an anchor is compared with.
"""

import math
from typing import NamedTuple

from contrastive_jax.errors import UserError
from contrastive_jax.graph.scores import margin_rows
from contrastive_jax.numerics import default_block

__all__ = ['TileLayout', 'cost_text', 'plan_tiles']

_WORD = 4
# Of the memory that is free: the rest is for programs, and for whoever else works here.
_SHARE = 0.6
# Multiplications and additions of a tile on one device: a second of two CPU cores.
_TILE_FLOPS = 1.5e11
# So that the folder of tiles stays small.
_MOST_TILES = 4000
_LEAST_ANCHORS = 16
_BLOCK_BYTES = 2**24
# Copies of a block of cosines while it is reduced: keys, masks, masked copies.
_COPIES = 5
_TEN_MINUTES = 600.0


class TileLayout(NamedTuple):
    """How the rows are cut.

    Attributes:
      streamed: whether the rows pass over each tile of anchors in blocks, instead of lying on the
        device.
      anchors: of a tile on each device.
      block: rows that are read at a time.
      memory: bytes of each device.
    """

    streamed: bool
    anchors: int
    block: int
    memory: int


def plan_tiles(
    n: int,
    k: int,
    *,
    landmarks: int | None,
    devices: int,
    available: int,
    host: int = 0,
    classes: int = 0,
) -> TileLayout:
    """Chooses the layout.

    Args:
      n: number of samples.
      k: number of features.
      landmarks: number of landmarks, or None.
      devices: of this process.
      available: bytes that each device has left.
      host: bytes of the columns that are kept, on the device if that is the host.
      classes: number of classes of `supervised_margin`; 0 without it.

    Returns:
      The layout, with the estimated memory of each device in bytes.

    Raises:
      UserError: nothing fits; the message says what would.
    """
    r = n if landmarks is None else landmarks + 1
    budget = int(_SHARE * available) - host
    block = max(1, min(n, _BLOCK_BYTES // (_WORD * k)))
    margin = _margin_bytes(n, k, classes) // devices if classes else 0
    if margin > budget:
        raise UserError(
            f'--labels: {classes} classes: {_gib(margin)} are needed for supervised_margin, and '
            f'{_gib(max(budget, 0))} may be used; leave it out, with --columns=score'
        )
    # A block of rows as it is read, on the device, and as unit rows.
    blocks = 3 * _WORD * k * block + margin

    def kept(rows: int) -> int:
        """Bytes with this many rows on the device."""
        return _WORD * (k * rows + _COPIES * default_block(rows) * rows) + blocks

    step = default_block(r)
    if kept(r) <= budget:
        wanted = max(_TILE_FLOPS / (2 * r * k), n / _MOST_TILES / devices)
        wanted = min(wanted, max(step, _BLOCK_BYTES / (_WORD * k)))
        # Tiles of one size, because the last one is padded to it, and whole blocks, because a part
        # of one compiles a second program.
        even = n / devices / math.ceil(n / devices / wanted)
        anchors = min(step * math.ceil(even / step), math.ceil(n / devices))
        return TileLayout(False, anchors, block, kept(r) + 3 * _WORD * k * anchors)
    needed = f'{_gib(kept(r))} are needed on each device, and {_gib(max(budget, 0))} may be used'
    if landmarks is not None:
        fit = _largest(lambda rows: kept(rows) <= budget, r)
        raise UserError(
            f'--landmarks={landmarks}: {needed}; '
            + (f'--landmarks={fit - 1} fits' if fit > 2 else 'not even 2 landmarks fit')
        )
    reduced = _WORD * _COPIES * _LEAST_ANCHORS * n
    anchors = (budget - blocks - reduced) // (_WORD * n)
    if anchors < _LEAST_ANCHORS:
        smallest = blocks + reduced + _WORD * n * _LEAST_ANCHORS
        fit = _largest(lambda rows: kept(rows) <= budget, n)
        raise UserError(
            f'--features: {n} rows: {_gib(smallest)} are needed on each device for all cosines of '
            f'{_LEAST_ANCHORS} anchors, and {_gib(max(budget, 0))} may be used; '
            + (f'--landmarks={fit - 1} fits' if fit > 2 else 'not even 2 landmarks fit')
        )
    anchors = min(anchors, math.ceil(n / devices))
    return TileLayout(True, anchors, block, blocks + reduced + _WORD * n * anchors)


def cost_text(
    n: int,
    k: int,
    layout: TileLayout,
    *,
    landmarks: int | None,
    stages: int,
    num_bytes: int,
    seconds: float,
    left: float | None = None,
    classes: int = 0,
    margin_seconds: float = 0.0,
) -> str:
    """What a scoring will cost, as a line.

    Args:
      n: number of samples.
      k: number of features.
      layout: from `plan_tiles`.
      landmarks: number of landmarks, or None.
      stages: number of passes of all samples over the rows.
      num_bytes: of the features as they are stored.
      seconds: estimate from a trial, without `supervised_margin`.
      left: share of these seconds that is left, if earlier calls have done some.
      classes: number of classes of `supervised_margin`; 0 without it.
      margin_seconds: estimate of its time.

    Returns:
      One line with the floating-point operations, the memory of each device and the time.
    """
    r = n if landmarks is None else landmarks
    how = f'{landmarks} landmarks' if landmarks is not None else 'exact'
    how += ', rows in blocks' if layout.streamed else ''
    how += f', {classes} classes' if classes else ''
    rest = ''
    if left is not None:
        rest = f', of which {_duration(left * seconds + margin_seconds)} are left'
    fit = min(int(r * (_TEN_MINUTES - margin_seconds) / max(seconds, 1e-3)), n - 1)
    if fit < 2 < n:
        # The classes alone take longer.
        advice = ''
    elif fit < n - 1:
        advice = f'; ten minutes are enough for --landmarks={fit}'
    else:
        advice = '' if landmarks is None else '; an exact score would take less than ten minutes'
    return (
        f'{n} samples of {k} features ({_gib(num_bytes)}), {how}: '
        f'{2.0 * n * (stages * r + classes) * k:.1e} floating-point operations, '
        f'{_gib(layout.memory)} on each device, about {_duration(seconds + margin_seconds)} by a '
        f'short trial{rest}{advice}'
    )


def _margin_bytes(n: int, k: int, classes: int) -> int:
    """Bytes of the sums over classes, their directions, and the cosines of some samples to them."""
    return 8 * classes * (2 * k + min(n, margin_rows(classes)))


def _largest(fits, most: int) -> int:
    """Largest number of rows that fits, at most `most`, by bisection."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _gib(count: int) -> str:
    return f'{count / 2**30:.2f} GiB'


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'
