"""Array arithmetic the mathematical rooms share: directions, order statistics, sums, blocks.

Axes: m anchors (local rows), n rows to compare with, d dimensions of a row.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

__all__ = [
    'Number',
    'Scalar',
    'check_percentiles',
    'cosines',
    'count_true',
    'default_block',
    'exact_share',
    'map_anchors',
    'masked_logsumexp',
    'order_statistics',
    'percentile_rank',
    'unit_rows',
]

# What counts as a plain number, and as one that may also be traced or learnt.
Number = int | float
Scalar = Number | Float[Array, '']

_SIGN_FLIP = 0x7FFFFFFF
_LEAST_BLOCK = 16


def unit_rows(rows: Float[Array, '*batch d']) -> Float[Array, '*batch d']:
    """Scales each row to length one, in float32.

    `u = x / |x|`; a zero row has no direction, so it stays zero and passes no gradient. The row is
    divided by its largest entry first: squares neither overflow nor vanish at any scale.

    Args:
      rows: `[..., d]`, any floating type.

    Returns:
      `[..., d]` float32, each row of length one, or zero.
    """
    rows = rows.astype(jnp.float32)
    largest = lax.stop_gradient(jnp.max(jnp.abs(rows), axis=-1, keepdims=True))
    empty = largest == 0
    scaled = rows / jnp.where(empty, 1.0, largest)
    squares = jnp.sum(jnp.square(scaled), axis=-1, keepdims=True)
    return jnp.where(empty, 0.0, scaled * lax.rsqrt(jnp.where(empty, 1.0, squares)))


def cosines(rows: Float[Array, 'n d'], anchor: Float[Array, ' d']) -> Float[Array, ' n']:
    """Cosine of one anchor with every row; both hold unit rows.

    Full float32 products: accelerators otherwise round the factors to fewer bits, and a selection
    threshold would then cut elsewhere than the similarity that it was taken from.
    """
    return jnp.matmul(rows, anchor, precision=lax.Precision.HIGHEST)


def exact_share(share: Number, count: int) -> Fraction:
    """`share * count` of the decimal as written: 0.55 of 20 is 11, which floats make more."""
    return Fraction(str(float(share))) * count


def percentile_rank(percentile: Number, count: int) -> int:
    """`ceil(percentile * count)`, exactly: the rank at which a descending order is cut.

    Percentiles count from the top: 0.1 of 50 is rank 5, the last of the most similar tenth.
    """
    return math.ceil(exact_share(percentile, count))


def check_percentiles(pos_high: Number, pos_low: Number) -> None:
    """Raises ValueError unless `0 <= pos_high <= pos_low <= 1`."""
    if not 0 <= pos_high <= pos_low <= 1:
        raise ValueError(
            f'pos_high={pos_high}, pos_low={pos_low}: need 0 <= pos_high <= pos_low <= 1, '
            'percentiles from the most similar down'
        )


def count_true(masks: Sequence[Bool[Array, ' n']]) -> tuple[Int[Array, ''], ...]:
    """Numbers of true entries of several masks, in one pass over what they are made from.

    `jnp.sum` of each would do, but on a CPU XLA first writes the operand of a single reduction to
    memory; a reduction with several outputs is fused with what makes its masks.
    """
    ones = tuple(mask.astype(jnp.int32) for mask in masks)
    zeros = (jnp.int32(0),) * len(ones)
    return tuple(lax.reduce(ones, zeros, lambda a, b: tuple(map(jnp.add, a, b)), (0,)))


def order_statistics(
    values: Float[Array, ' n'], ranks: Sequence[int | Int[Array, '']]
) -> tuple[Float[Array, ''], ...]:
    """Exact `rank`-th largest of float32 values for each rank, `+inf` for rank 0.

    The bits of a float, its sign folded in, are integers in the order of the floats. Bisection on
    them needs 32 counting passes and no sort, and ends at a value that is there.

    Args:
      values: `[n]` float32, no NaN; `-inf` marks an entry that is not there.
      ranks: each 0 to n.

    Returns:
      One scalar float32 for each rank.
    """
    keys = _ordered(lax.bitcast_convert_type(values, jnp.int32))
    ranks = [jnp.asarray(rank, jnp.int32) for rank in ranks]

    def halve(_, bounds):
        # Rounded up, and without the overflow of (low + high) / 2.
        middles = [(low >> 1) + (high >> 1) + ((low | high) & 1) for low, high in bounds]
        counts = count_true([keys >= middle for middle in middles])
        return tuple(
            (jnp.where(count >= rank, middle, low), jnp.where(count >= rank, high, middle - 1))
            for (low, high), middle, count, rank in zip(bounds, middles, counts, ranks, strict=True)
        )

    integers = jnp.iinfo(jnp.int32)
    bounds = ((jnp.int32(integers.min), jnp.int32(integers.max)),) * len(ranks)
    # The first pass makes the constant bounds depend on the values: the carry of a loop keeps its
    # type, and under `shard_map` that says whether it differs between devices.
    bounds = lax.fori_loop(1, 32, halve, halve(0, bounds))
    return tuple(
        jnp.where(rank == 0, jnp.inf, lax.bitcast_convert_type(_ordered(low), jnp.float32))
        for (low, _), rank in zip(bounds, ranks, strict=True)
    )


def _ordered(bits: Int[Array, '*shape']) -> Int[Array, '*shape']:
    """Maps the bits of floats to integers of the same order; its own inverse."""
    return jnp.where(bits < 0, bits ^ _SIGN_FLIP, bits)


def masked_logsumexp(logits: Float[Array, ' n'], mask: Bool[Array, ' n']) -> Float[Array, '']:
    """`log sum_{k in mask} exp(logits_k)`; `-inf` with zero gradient where nothing is left."""
    left = jnp.any(mask)
    # The inner value is finite even for an empty mask: a NaN gradient would pass the outer `where`.
    total = jax.nn.logsumexp(jnp.where(mask, logits, jnp.where(left, -jnp.inf, 0.0)))
    return jnp.where(left, total, -jnp.inf)


def default_block(n: int) -> int:
    """Anchors at a time so that a block of their similarities with `n` rows stays small.

    On a CPU 4 MiB, of the order of its cache. Elsewhere 64 MiB, so that there is work for all cores
    and batches of up to 2,048 images are not split at all.
    """
    entries = 2**20 if jax.default_backend() == 'cpu' else 2**24
    return max(_LEAST_BLOCK, entries // n)


def map_anchors(
    function: Callable[[Any], Any], anchors: Any, n: int, block_size: int | None = None
) -> Any:
    """Maps a function of one anchor over all of them, `block_size` at a time.

    With blocks nothing of size `m x n` exists: the backward pass computes each block again instead
    of keeping it.

    Args:
      function: takes one anchor, a tree of arrays without the axis m.
      anchors: tree of arrays `[m, ...]`.
      n: rows that an anchor is compared with.
      block_size: anchors at a time, m or more for all at once; None for `default_block(n)`.

    Returns:
      What `function` returns, stacked to `[m, ...]`.
    """
    m = len(jax.tree.leaves(anchors)[0])
    if block_size is None:
        block_size = default_block(n)
    if block_size < 1:
        raise ValueError(f'block_size={block_size}: must be at least 1, or None for the default')
    if block_size >= m:
        return jax.vmap(function)(anchors)
    # Inside a scan nothing can be merged across iterations, so the barriers against it only cost.
    function = jax.checkpoint(function, prevent_cse=False)
    return lax.map(function, anchors, batch_size=block_size)
