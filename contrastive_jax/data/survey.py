"""One pass over rows of features before they are scored: their check, mean and checksum.

Axes: n samples, k features, c rows that are asked for.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from contrastive_jax.data.feature_files import checked_rows
from contrastive_jax.data.feature_rows import Rows

__all__ = ['Survey', 'survey']

# Bytes of a block while rows are surveyed.
_BLOCK_BYTES = 2**24


class Survey(NamedTuple):
    """What one pass over all rows finds.

    Attributes:
      origin: `[k]` the first row, float32.
      mean: `[k]` mean of the rows less the first one, float32.
      checksum: SHA-256 of the numbers as they are stored.
      chosen: `[c, k]` the rows asked for, float32.
    """

    origin: np.ndarray
    mean: np.ndarray
    checksum: str
    chosen: np.ndarray


def survey(
    rows: Rows, chosen: np.ndarray, advance: Callable[[int], object] = lambda count: None
) -> Survey:
    """Checks every row, and takes their mean, in one pass.

    Args:
      rows: to read.
      chosen: `[c]` indices of rows to keep, in any order.
      advance: called with the number of rows that were read.

    Raises:
      UserError: a row that is zero or not finite, with its file and its number there.
    """
    order = np.argsort(chosen, kind='stable')
    ascending = chosen[order]
    kept = np.empty((len(chosen), rows.width), np.float32)
    digest, total, origin, seen = hashlib.sha256(), np.zeros(rows.width), None, 0
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
        advance(len(block))
    rows.check_unchanged()
    assert origin is not None  # there is at least one row
    return Survey(origin, (total / len(rows)).astype(np.float32), digest.hexdigest(), kept)
