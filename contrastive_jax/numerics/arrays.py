"""Array arithmetic of the mathematical rooms: unit rows, order statistics, masked sums, blocks.

Axes: m anchors (local rows), n rows to compare with, d dimensions of a row.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

__all__ = [
    'COSINE_SLACK',
    'Number',
    'Scalar',
    'blocks_of',
    'check_classes',
    'check_not_masked',
    'check_percentiles',
    'cosines',
    'count_true',
    'default_block',
    'exact_share',
    'gather',
    'map_anchors',
    'masked_logsumexp',
    'order_statistics',
    'percentile_rank',
    'unit_rows',
]

# A plain number, and a number that may also be traced or learnt.
Number = int | float | np.number
Scalar = Number | Float[Array, '']

# A threshold is the cosine of some pair. If that cosine is computed again, in other blocks or fused
# otherwise, it differs in its last bits, and without slack the pair would miss its own threshold.
# About one other pair in a million is closer to a threshold than this.
COSINE_SLACK = 2.0**-21

_SIGN_FLIP = 0x7FFFFFFF
_LEAST_BLOCK = 16
# Number of samples by which floating point may miss an integer.
_ROUNDING = Fraction(1, 10**6)


def unit_rows(rows: Float[Array, '*batch d']) -> Float[Array, '*batch d']:
    """Scales each row to length one, in float32.

    `u = x / |x|`. A zero row has no direction, so it stays zero and passes no gradient. Each row is
    first divided by its largest entry, so that its squares neither overflow nor vanish.

    Args:
      rows: `[..., d]`, any floating type.

    Returns:
      `[..., d]` float32, each row of length one, or zero.
    """
    rows = rows.astype(jnp.float32)
    largest = lax.stop_gradient(jnp.max(jnp.abs(rows), axis=-1, keepdims=True))
    empty = largest == 0
    # XLA multiplies by a reciprocal, which must not be too small to be a normal number.
    power = jnp.where(largest > 1, 0.125, 1.0)
    scaled = (rows * power) / jnp.where(empty, 1.0, largest * power)
    squares = jnp.sum(jnp.square(scaled), axis=-1, keepdims=True)
    return jnp.where(empty, 0.0, scaled * lax.rsqrt(jnp.where(empty, 1.0, squares)))


def cosines(rows: Float[Array, 'n d'], anchor: Float[Array, ' d']) -> Float[Array, ' n']:
    """Inner product of one anchor with every row: the cosine, where all are unit rows.

    The products are in full float32. Accelerators otherwise round the factors to fewer bits, and a
    similarity would no longer compare with the threshold that was taken from it.

    Args:
      rows: `[n, d]` unit rows.
      anchor: `[d]` unit row.

    Returns:
      `[n]` in [-1, 1], up to rounding.
    """
    return jnp.matmul(rows, anchor, precision=lax.Precision.HIGHEST)


def gather(local: Array, axis_name: str | None) -> Array:
    """Rows of all devices, in the order of the devices; the rows themselves on one device.

    Each row's gradient returns to the device that the row came from.

    Args:
      local: `[m, ...]` rows of this device.
      axis_name: mapped axis; None on one device.

    Returns:
      `[n, ...]`, m rows of each device.
    """
    if axis_name is None:
        return local
    return lax.all_gather(local, axis_name, axis=0, tiled=True)


def exact_share(share: Number, count: int) -> Fraction:
    """`share * count` with the share as the decimal that was written.

    0.55 of 20 is exactly 11; in floating point it is slightly more. So is 1 - 0.9 of 100, and 0.1
    in float32 of 50: what is an integer but for rounding is that integer.

    Args:
      share: share in [0, 1], of Python or NumPy.
      count: number of samples, at least 0.

    Returns:
      The exact product; an integer where only rounding keeps it from one.
    """
    # Numbers of NumPy and JAX are printed as the shortest decimal of their own type.
    exact = Fraction(str(share)) * count
    nearest = round(exact)
    kind = np.asarray(share).dtype
    digits = float(np.finfo(kind).eps) if np.issubdtype(kind, np.floating) else 0.0
    near = abs(exact - nearest) < max(_ROUNDING, Fraction(digits) * exact)
    # However small a share is, it is not nothing.
    return Fraction(nearest) if near and (nearest or not share) else exact


def percentile_rank(percentile: Number, count: int) -> int:
    """`ceil(percentile * count)`, exactly: the rank of a percentile in descending order.

    Percentiles count from the top: 0.1 of 50 is rank 5, the last of the most similar tenth.

    Args:
      percentile: in [0, 1].
      count: number of values, at least 0.

    Returns:
      The rank, 0 to `count`.
    """
    return math.ceil(exact_share(percentile, count))


def check_percentiles(pos_high: Number, pos_low: Number) -> None:
    """Raises ValueError unless `0 <= pos_high <= pos_low <= 1`, or if a percentile is traced."""
    if isinstance(pos_high, jax.core.Tracer) or isinstance(pos_low, jax.core.Tracer):
        raise ValueError(
            'pos_high, pos_low: are traced; give Python numbers, which `jax.jit` takes as static '
            'arguments, because they choose ranks'
        )
    if not 0 <= pos_high <= pos_low <= 1:
        raise ValueError(
            f'pos_high={pos_high}, pos_low={pos_low}: need 0 <= pos_high <= pos_low <= 1, '
            'shares from the most similar down, such as 0.1 for the most similar tenth'
        )


def check_classes(classes: Array | np.ndarray, count: int, name: str, of: str = 'features') -> None:
    """Raises ValueError unless there are `count` integers, one for each row."""
    check_not_masked(name, classes)
    if classes.shape != (count,) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f'{name} of shape {classes.shape}, type {classes.dtype}: need ({count},) integers, the '
            f'class of each row of {of}'
        )


def check_not_masked(name: str, array: Array | np.ndarray) -> None:
    """Raises ValueError for a masked array: `np.asarray` takes what is masked for a value."""
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(
            f'{name}: a masked array, whose masked values would count; leave these rows out, and '
            'give a NumPy or JAX array'
        )


def count_true(masks: Sequence[Bool[Array, ' n']]) -> tuple[Int[Array, ''], ...]:
    """Numbers of true entries of several masks, in one pass over their operands.

    On a CPU, XLA writes the operand of a single `jnp.sum` to memory first. It fuses a reduction
    with several outputs with the computation of the masks.

    Args:
      masks: each `[n]`.

    Returns:
      One int32 for each mask, 0 to n.
    """
    ones = tuple(mask.astype(jnp.int32) for mask in masks)
    zeros = (jnp.int32(0),) * len(ones)
    return tuple(lax.reduce(ones, zeros, lambda a, b: tuple(map(jnp.add, a, b)), (0,)))


def order_statistics(
    values: Float[Array, ' n'], ranks: Sequence[int | Int[Array, '']]
) -> tuple[Float[Array, ''], ...]:
    """Exact `rank`-th largest of float32 values for each rank, `+inf` for rank 0.

    The bits of a float, with its sign folded in, are integers in the order of the floats. Bisection
    on these integers needs 32 counting passes and no sort, and ends at one of the values.

    Args:
      values: `[n]` float32, no NaN; `-inf` marks an entry to ignore.
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
    # The first pass is outside the loop, because it makes the constant bounds depend on the values.
    # The carry of a loop must keep its type, and under `shard_map` the type says whether the carry
    # differs between devices.
    bounds = lax.fori_loop(1, 32, halve, halve(0, bounds))
    # Chosen among the bits: those that the bisection of rank 0 ends at are no number.
    infinity = lax.bitcast_convert_type(jnp.float32(jnp.inf), jnp.int32)
    return tuple(
        lax.bitcast_convert_type(jnp.where(rank == 0, infinity, _ordered(low)), jnp.float32)
        for (low, _), rank in zip(bounds, ranks, strict=True)
    )


def _ordered(bits: Int[Array, '*shape']) -> Int[Array, '*shape']:
    """Maps the bits of floats to integers of the same order. It is its own inverse."""
    return jnp.where(bits < 0, bits ^ _SIGN_FLIP, bits)


def masked_logsumexp(logits: Float[Array, ' n'], mask: Bool[Array, ' n']) -> Float[Array, '']:
    """`log sum_{k in mask} exp(logits_k)`; `-inf` with zero gradient for an empty mask.

    Args:
      logits: `[n]`; entries outside the mask may be infinite.
      mask: `[n]` which entries count.

    Returns:
      Scalar.
    """
    left = jnp.any(mask)
    # The inner value must be finite for an empty mask: a NaN gradient would pass the outer `where`.
    total = jax.nn.logsumexp(jnp.where(mask, logits, jnp.where(left, -jnp.inf, 0.0)))
    return jnp.where(left, total, -jnp.inf)


def host_unit_rows(rows: Array | np.ndarray) -> Float[np.ndarray, 'n k']:
    """Scales each row to length one, on the host in float64; a zero row stays zero.

    Args:
      rows: `[n, k]` finite numbers.

    Returns:
      `[n, k]` float64, a new array, which is all the memory that this takes.
    """
    rows = np.array(rows, np.float64)
    # Divided by the largest entry first, so that squares neither overflow nor vanish.
    rows /= _divisors(np.maximum(rows.max(axis=1), -rows.min(axis=1)))
    rows /= _divisors(np.sqrt(np.einsum('nk,nk->n', rows, rows)))
    return rows


def _divisors(lengths: Float[np.ndarray, ' n']) -> Float[np.ndarray, 'n 1']:
    return np.where(lengths == 0, 1.0, lengths)[:, None]


def default_block(n: int) -> int:
    """Number of anchors in a block, so that their similarities with `n` rows take little memory.

    A block takes 4 MiB on a CPU, about the size of its cache. On other devices it takes 64 MiB,
    which keeps all cores busy and does not split batches of up to 2,048 images.

    Args:
      n: number of rows that an anchor is compared with.

    Returns:
      The number of anchors, at least 16.
    """
    entries = 2**20 if jax.default_backend() == 'cpu' else 2**24
    return max(_LEAST_BLOCK, entries // n)


def map_anchors(
    function: Callable[[Any], Any], anchors: Any, n: int, block_size: int | None = None
) -> Any:
    """Maps a function of one anchor over all of them, `block_size` at a time.

    With blocks, no array of size `m x n` exists.

    Args:
      function: function of one anchor, a tree of arrays without the axis m.
      anchors: tree of arrays `[m, ...]`.
      n: number of rows that an anchor is compared with.
      block_size: anchors at a time; m or more for all at once, None for `default_block(n)`.

    Returns:
      The results of `function`, stacked to `[m, ...]`.

    Raises:
      ValueError: a block size below 1.
    """

    def step(carry, block):
        return carry, jax.vmap(function)(block)

    return blocks_of(step, None, anchors, n, block_size)[1]


def blocks_of(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    anchors: Any,
    n: int,
    block_size: int | None = None,
) -> tuple[Any, Any]:
    """Steps through blocks of anchors, as `lax.scan`, but with a last block that may be shorter.

    Args:
      step: takes the carry and a block of anchors `[b, ...]`; returns the next carry and results
        `[b, ...]`.
      carry: the first carry.
      anchors: tree of arrays `[m, ...]`.
      n: number of rows that an anchor is compared with.
      block_size: anchors at a time; m or more for all at once, None for `default_block(n)`.

    Returns:
      The last carry, and the results stacked to `[m, ...]`.

    Raises:
      ValueError: a block size below 1.
    """
    if block_size is None:
        block_size = default_block(n)
    if block_size < 1:
        raise ValueError(f'block_size={block_size}: must be at least 1, or None for the default')
    m = len(jax.tree.leaves(anchors)[0])
    if block_size >= m:
        return step(carry, anchors)
    whole = m - m % block_size
    blocks = jax.tree.map(lambda x: x[:whole].reshape(-1, block_size, *x.shape[1:]), anchors)
    carry, results = lax.scan(step, carry, blocks)
    results = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)
    if whole == m:
        return carry, results
    carry, rest = step(carry, jax.tree.map(lambda x: x[whole:], anchors))
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), results, rest)
