"""One pass over rows of features before they are scored: their check, mean and checksum.

Axes: n samples, k features, c rows that are asked for.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from absl import logging

from contrastive_jax.data.feature_files import checked_rows
from contrastive_jax.data.feature_rows import Rows
from contrastive_jax.runtime import distributed

__all__ = ['Survey', 'collapse', 'relative_spread', 'survey_rows', 'warn_if_collapsed']

# Bytes of a block while rows are surveyed.
_BLOCK_BYTES = 2**24
# In float32 the directions of features that lie closer together have lost most of their digits.
_COLLAPSED = 1e-8


class Survey(NamedTuple):
    """What one pass over all rows finds.

    Attributes:
      origin: `[k]` the first row, float32.
      mean: `[k]` mean of the rows less the first one, float32.
      checksum: SHA-256 of the numbers as they are stored.
      chosen: `[c, k]` the rows asked for, float32.
      spread: mean squared distance of the rows to their mean, over the squared length of the mean.
    """

    origin: np.ndarray
    mean: np.ndarray
    checksum: str
    chosen: np.ndarray
    spread: float


def survey_rows(
    rows: Rows, chosen: np.ndarray, advance: Callable[[int], object] = lambda count: None
) -> Survey:
    """Checks every row, and takes their mean, in one pass.

    Args:
      rows: to read.
      chosen: `[c]` indices of rows to keep, in any order.
      advance: called with the number of rows that were read.

    Returns:
      First row and mean, each `[k]` float32, the rows chosen, `[c, k]` float32 in the order of
      `chosen`, and what `Survey` lists besides.

    Raises:
      UserError: a row that is zero or not finite, with its file and its number there; or a file
        that has been changed since it was opened.
    """
    order = np.argsort(chosen, kind='stable')
    ascending = chosen[order]
    kept = np.empty((len(chosen), rows.width), np.float32)
    digest, total, origin, seen = hashlib.sha256(), np.zeros(rows.width), None, 0
    squares = 0.0
    for name, first, piece in rows.pieces(max(1, _BLOCK_BYTES // (4 * rows.width))):
        digest.update(np.ascontiguousarray(piece).data)
        # Arithmetic on float16 is slow, and every float16 is a float32.
        piece = piece.astype(np.float32) if piece.dtype == np.float16 else piece
        block = checked_rows(piece, name, dtype=np.float32, direction=True, first=first)
        origin = block[0].copy() if origin is None else origin
        begin, end = np.searchsorted(ascending, [seen, seen + len(block)])
        kept[order[begin:end]] = block[ascending[begin:end] - seen]
        seen += len(block)
        block -= origin
        total += block.sum(axis=0, dtype=np.float64)
        # In float32 the squares of small features would vanish.
        squares += float(np.einsum('nk,nk->', block, block, dtype=np.float64))
        advance(len(block))
    rows.check_unchanged()
    assert origin is not None  # there is at least one row
    offset = total / len(rows)
    variance = max(squares / len(rows) - float(offset @ offset), 0.0)
    length = float(np.sum(np.square(origin.astype(np.float64) + offset)))
    # One row has nothing to differ from.
    relative = variance / length if length and len(rows) > 1 else np.inf
    return Survey(origin, offset.astype(np.float32), digest.hexdigest(), kept, relative)


def relative_spread(rows: np.ndarray) -> float:
    """`Survey.spread` of an array `[n, k]`; infinite for one row, which differs from nothing."""
    if len(rows) == 1:
        return np.inf
    mean = rows.mean(axis=0, dtype=np.float64)
    length = float(mean @ mean)
    variance = float(rows.var(axis=0, dtype=np.float64).sum())
    return variance / length if length else np.inf


def warn_if_collapsed(spread: float, source: str) -> None:
    """Warns if rows are equal but for rounding, so that scores would rank noise."""
    words = collapse(spread)
    if words and distributed.is_writer():
        logging.warning('%s: %s', source, words)


def collapse(spread: float) -> str:
    """What is to be said of rows that are equal but for rounding; empty for others."""
    if spread < _COLLAPSED:
        return (
            f'the rows hardly differ (their distance to the mean is {np.sqrt(spread):.0e} of its '
            'length), so the scores are rounding errors; has the encoder collapsed?'
        )
    return ''
