"""Scores of a tile of anchors, whose rows are on the device, or pass over it block by block.

Both ways give what `sample_difficulty` and `isolation` give, to rounding. The functions run on one
device; their caller maps them.

Axes: a anchors of a tile, r rows that they are compared with, c of them in a block, k features.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from contrastive_jax.graph._rows import chosen_mean
from contrastive_jax.graph.difficulty import cut
from contrastive_jax.graph.landmarks import Levels, score_anchor
from contrastive_jax.numerics import (
    COSINE_SLACK,
    cosines,
    map_anchors,
    order_statistics,
    unit_rows,
)

__all__ = ['Cuts', 'centred_units', 'compare_block', 'put_rows', 'tile_by_block', 'tile_by_rows']


class Cuts(NamedTuple):
    """What an anchor's cosines are reduced with.

    Attributes:
      indices: `[r]` index of each row among all samples.
      at: ranks and shares of the bands.
      near: rank at which the neighbourhood of `isolation` ends.
      densities: `[r]` mean cosine of each row to its neighbourhood; only `isolation` needs it.
    """

    indices: Int[Array, ' r'] | Int[np.ndarray, ' r']
    at: Levels
    near: Int[Array, ''] | Int[np.ndarray, '']
    densities: Float[Array, ' r'] | Float[np.ndarray, ' r']


def centred_units(
    rows: Float[Array, 'c k'], origin: Float[Array, ' k'], mean: Float[Array, ' k']
) -> Float[Array, 'c k']:
    """Unit rows after the mean of all rows is subtracted, which is `origin + mean`."""
    # In two steps, so that equal rows become exact zeros.
    return unit_rows((rows.astype(jnp.float32) - origin[None]) - mean[None])


def put_rows(
    buffer: Float[Array, 'r k'],
    rows: Float[Array, 'c k'],
    start: Int[Array, ''],
    origin: Float[Array, ' k'],
    mean: Float[Array, ' k'],
) -> Float[Array, 'r k']:
    """Writes the unit rows of a block into the buffer of all unit rows."""
    return lax.dynamic_update_slice_in_dim(buffer, centred_units(rows, origin, mean), start, 0)


def compare_block(
    similarity: Float[Array, 'a r'],
    anchors: Float[Array, 'a k'],
    rows: Float[Array, 'c k'],
    start: Int[Array, ''],
    origin: Float[Array, ' k'],
    mean: Float[Array, ' k'],
) -> Float[Array, 'a r']:
    """Writes the cosines of unit anchors with a block of rows into the buffer of all cosines."""
    unit = centred_units(rows, origin, mean)
    cosine = jnp.matmul(anchors, unit.T, precision=lax.Precision.HIGHEST)
    return lax.dynamic_update_slice_in_dim(similarity, cosine, start, 1)


def tile_by_rows(
    unit: Float[Array, 'r k'],
    anchors: Float[Array, 'a k'],
    own: Int[Array, ' a'],
    cuts: Cuts,
    columns: frozenset[str],
    by_landmarks: bool,
) -> dict[str, Array]:
    """Columns of a tile of anchors, compared with rows that are all on the device.

    Args:
      unit: `[r, k]` unit rows.
      anchors: `[a, k]` unit anchors.
      own: `[a]` index of each anchor among all samples.
      cuts: how cosines are reduced.
      columns: of 'score', 'partner', 'isolation', 'density'.
      by_landmarks: whether the rows were drawn, one more than an anchor is compared with.

    Returns:
      Columns by name, each `[a]`.
    """

    def reduce(inputs):
        anchor, index = inputs
        return _reduce(cosines(unit, anchor), index, cuts, columns, by_landmarks)

    return map_anchors(reduce, (anchors, own), len(unit))


def tile_by_block(
    similarity: Float[Array, 'a r'], own: Int[Array, ' a'], cuts: Cuts, columns: frozenset[str]
) -> dict[str, Array]:
    """`tile_by_rows` for all rows, from cosines that `compare_block` has written."""

    def reduce(inputs):
        cosines_of_anchor, index = inputs
        return _reduce(cosines_of_anchor, index, cuts, columns, False)

    return map_anchors(reduce, (similarity, own), similarity.shape[1])


def _reduce(similarity, own, cuts, columns, by_landmarks):
    others = cuts.indices != own
    if by_landmarks:
        # An anchor that was not drawn leaves out the last row, so that each has as many.
        r = len(others)
        others &= ~jnp.all(others) | (jnp.arange(r) < r - 1)
    similarity = jnp.where(others, similarity, -jnp.inf)
    ranks = list(cuts.at.ranks) if by_landmarks else list(cuts.at.ranks[:2])
    near = bool({'isolation', 'density'} & columns)
    ranks = (ranks if 'score' in columns else []) + [cuts.near] * near
    thresholds = order_statistics(similarity, ranks)
    out: dict[str, Array] = {}
    if 'score' in columns:
        band = _add_score(out, similarity, others, thresholds, cuts.at, by_landmarks)
        if 'partner' in columns:
            nearest = cuts.indices[jnp.argmax(jnp.where(band, similarity, -jnp.inf))]
            out['partner'] = jnp.where(jnp.any(band), nearest, own)
    if near:
        density = chosen_mean(similarity, thresholds[-1] <= similarity)
        if 'density' in columns:
            out['density'] = density
        else:
            around = chosen_mean(cuts.densities, thresholds[-1] - COSINE_SLACK <= similarity)
            out['isolation'] = around - density
    return out


def _add_score(out, similarity, others, thresholds, at, by_landmarks):
    """Adds the columns of the score, and returns the mask of the difficult band."""
    if not by_landmarks:
        difficulty, band, _ = cut(similarity, others, *thresholds[:2])
        out |= difficulty._asdict()
        return band
    estimate, band = score_anchor(similarity, others, thresholds[:6], at)
    out |= estimate.difficulty._asdict() | {'error': estimate.error}
    for end in ('low', 'high'):
        bounds = getattr(estimate, end)._asdict()
        out |= {f'{name}_{end}': values for name, values in bounds.items()}
    return band
