"""The nearest samples of a sample, among all others and inside its difficult band.

Axes: n samples, m of them queried, k features, b samples of a block, c neighbours.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from contrastive_jax.graph._inputs import FeatureRows, check_features
from contrastive_jax.numerics import (
    check_percentiles,
    host_unit_rows,
    order_statistics,
    percentile_rank,
)

__all__ = ['Neighbours', 'find_neighbours', 'nearest_difficult']

# Bytes of the cosines of a block.
_BLOCK_BYTES = 2**25


class Neighbours(NamedTuple):
    """Neighbours of each sample, the most similar first.

    Attributes:
      nearest: `[n, c]` indices of the nearest samples.
      similarity: `[n, c]` their cosines, in [-1, 1].
      partners: `[n, c]` indices of the nearest samples inside the difficult band; -1 where it holds
        fewer.
    """

    nearest: Int[np.ndarray, 'n c']
    similarity: Float[np.ndarray, 'n c']
    partners: Int[np.ndarray, 'n c']


def find_neighbours(
    features: FeatureRows,
    *,
    pos_high: float,
    pos_low: float,
    count: int,
    center: bool = True,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Neighbours:
    """Finds the nearest others of each sample by cosine, exactly.

    Args:
      features: `[n, k]`, any scale, n of at least 2.
      pos_high: percentile at which the difficult band begins, from the top, in [0, pos_low].
      pos_low: percentile at which it ends, in [pos_high, 1].
      count: number c of neighbours, from 1; at most n - 1 are returned.
      center: whether to subtract the mean of all rows first, as `sample_difficulty` does.
      progress: function that wraps the sequence of blocks, for a progress bar.

    Returns:
      Indices and cosines, each `[n, min(count, n - 1)]`: `nearest` and `partners` are int32, and
      `similarity` is float32 in [-1, 1].

    Raises:
      ValueError: percentiles out of order, fewer than two samples, a row that is zero or not
        finite.
    """
    check_features(features)
    check_percentiles(pos_high, pos_low)
    n = len(features)
    if n < 2:
        raise ValueError(f'features of shape {features.shape}: need at least two samples')
    unit = _directions(features, center)
    rows = jnp.asarray(unit, jnp.float32)
    # Traced, not static, so that another band needs no new compilation.
    ranks = [jnp.int32(percentile_rank(percentile, n - 1)) for percentile in (pos_high, pos_low)]
    size = max(1, min(n, _BLOCK_BYTES // (4 * n)))
    parts = []
    for start in progress(range(0, n, size)):
        index = jnp.arange(start, start + size, dtype=jnp.int32) % n
        block = _of_block(rows, index, ranks, min(count, n - 1))
        parts.append([np.asarray(values)[: min(size, n - start)] for values in block])
    return Neighbours(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _directions(features: FeatureRows, center: bool) -> Float[np.ndarray, 'n k']:
    wide = np.array(features, np.float64)
    if center:
        wide -= wide.mean(axis=0)
    return host_unit_rows(wide)


@partial(jax.jit, static_argnames='count')
def _of_block(
    rows: Float[Array, 'n k'], index: Int[Array, ' b'], ranks: list[Int[Array, '']], count: int
) -> tuple[Array, Array, Array]:
    cosines = jnp.matmul(rows[index], rows.T, precision='highest')
    others = jnp.arange(len(rows), dtype=jnp.int32)[None] != index[:, None]
    cosines = jnp.where(others, jnp.clip(cosines, -1, 1), -jnp.inf)
    high, low = jax.vmap(lambda row: order_statistics(row, ranks))(cosines)
    similarity, nearest = jax.lax.top_k(cosines, count)
    inside = (low[:, None] <= cosines) & (cosines < high[:, None])
    partner, partners = jax.lax.top_k(jnp.where(inside, cosines, -jnp.inf), count)
    return nearest, similarity, jnp.where(jnp.isfinite(partner), partners, -1)


def nearest_difficult(
    features: FeatureRows,
    samples: Int[np.ndarray, ' m'],
    *,
    pos_high: float,
    pos_low: float,
    center: bool = True,
) -> Int[np.ndarray, ' m']:
    """Index of the most similar sample in the difficult band of each queried sample.

    The band is that of `sample_difficulty`, in float64 and one sample at a time. This is meant for
    the tens of samples that a person looks at.

    Args:
      features: `[n, k]`, any scale.
      samples: `[m]` indices.
      pos_high: percentile at which the band begins, in [0, pos_low]. Percentiles count from the
        top: 0.1 is the most similar tenth.
      pos_low: percentile at which the band ends, in [pos_high, 1].
      center: subtract the mean of all rows before taking cosines.

    Returns:
      `[m]` indices; the index of the sample itself where its band is empty.

    Raises:
      ValueError: percentiles out of order; a row that is zero or not finite.

    Source: the band of Section 5.1, Eq. 12.
    """
    check_percentiles(pos_high, pos_low)
    check_features(features)
    unit = _directions(features, center)
    ranks = [percentile_rank(percentile, len(unit) - 1) for percentile in (pos_high, pos_low)]
    return np.array([_nearest(unit, int(sample), *ranks) for sample in samples], np.int64)


def _nearest(unit: np.ndarray, sample: int, high_rank: int, low_rank: int) -> int:
    similarity = unit @ unit[sample]
    similarity[sample] = -np.inf
    descending = np.sort(similarity)[::-1]
    high, low = (descending[rank - 1] if rank else np.inf for rank in (high_rank, low_rank))
    band = (low <= similarity) & (similarity < high)
    return int(np.argmax(np.where(band, similarity, -np.inf))) if band.any() else sample
