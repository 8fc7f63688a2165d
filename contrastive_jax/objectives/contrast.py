"""The losses with the paper's treatments of difficult pairs: NT-Xent, InfoNCE and spectral loss.

Axes: b images of this device, m local anchors (m = 2b within a batch), n rows of all devices or of
the queue, d embedding.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from contrastive_jax.numerics import Scalar, compiler_sharded, masked_logsumexp, unit_rows
from contrastive_jax.objectives._compare import (
    Comparison,
    LossMetrics,
    QueueAnchors,
    check_not_negative,
    check_positive,
    in_float32,
    mean_over_anchors,
    within_batch,
)
from contrastive_jax.objectives.pairs import PairChoice, QueuePairs, selection

__all__ = ['info_nce', 'nt_xent', 'spectral']


@compiler_sharded
def nt_xent(
    embeddings: Float[Array, 'm d'],
    *,
    temperature: Scalar,
    pairs: PairChoice = None,
    remove: bool = False,
    margin: Scalar = 0.0,
    temperature_scale: Scalar = 1.0,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """NT-Xent with removal, margin and temperature scaling of the selected pairs.

    With `s` the cosines, `p` the selection, `tau` the temperature, `sigma` the margin and `rho` the
    temperature scale, the logit of a pair is `l_ik = (s_ik + sigma p_ik) / (tau rho^p_ik)`, and

      `loss = mean_i [ -s_ij / tau + log sum_{k != i} exp(l_ik) ]`, j the positive of i.

    With `remove`, the sum is without the selected pairs. The positive is never selected.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2; under
        `axis_name`, view 1 and then view 2 of the images of this device.
      temperature: `tau > 0`.
      pairs: a `DifficultBand`, a matrix `[m, n]`, `'all'` for every negative, or None.
      remove: leave the selected pairs out. Without `pairs` none is selected, and this, the margin
        and the scale change nothing.
      margin: `sigma >= 0`, added to the cosine of a selected pair. A larger margin pushes the pair
        apart harder.
      temperature_scale: `rho > 0`, multiplies the temperature of a selected pair. A value below 1
        pushes the pair apart harder.
      axis_name: mapped axis over which the negatives are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss, a float32 scalar that is the mean over the anchors of all devices, and the metrics
      `positive_similarity` (mean cosine, in [-1, 1]) and `selected_share` (of all negatives, in
      [0, 1]). Under `axis_name`, average the gradients of parameters over the devices, as in any
      data-parallel step; this holds in `jax.pmap` and in `jax.shard_map`, with and without
      `check_vma`. Inside, the gradient with respect to a device's own rows is that of the mean loss
      only with `check_vma=True`; otherwise, and in `jax.pmap`, it is too large by the number of
      devices.

    Raises:
      ValueError: a temperature or scale that is not positive, a negative margin, an odd number of
        rows, embeddings that are not `[m, d]`, pairs of other rows, or a block size below 1.

    Derivatives are those of reverse mode, of any order; `jax.jvp` and `jax.jacfwd` are not there,
    because the gradient is made together with the loss.

    Example:
      >>> import jax
      >>> from contrastive_jax import nt_xent
      >>> embeddings = jax.random.normal(jax.random.key(0), (8, 4))
      >>> loss, metrics = nt_xent(embeddings, temperature=0.5)
      >>> loss.shape, sorted(metrics)
      ((), ['positive_similarity', 'selected_share'])

    Source: Section 5, Eqs. 11 and 13-15; Chen et al. 2020.
    """
    check_positive(temperature=temperature, temperature_scale=temperature_scale)
    check_not_negative(margin=margin)
    return _cross_entropy(
        within_batch(unit_rows(embeddings), axis_name),
        pairs,
        (temperature, margin, temperature_scale),
        remove,
        axis_name,
        block_size,
    )


@compiler_sharded
def info_nce(
    queries: Float[Array, 'm d'],
    keys: Float[Array, 'm d'],
    queue: Float[Array, 'n d'],
    *,
    temperature: Scalar,
    pairs: QueuePairs = None,
    remove: bool = False,
    margin: Scalar = 0.0,
    temperature_scale: Scalar = 1.0,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """InfoNCE of each query against its key and the queue, with the treatments of `nt_xent`.

    With `s_i` the cosine of a query and its key, and `l_ik` as in `nt_xent` over the rows of the
    queue,

      `loss = mean_i [ -s_i / tau + log( exp(s_i / tau) + sum_k exp(l_ik) ) ]`.

    Args:
      queries: `[m, d]` projector outputs, not normalised.
      keys: `[m, d]` projector outputs of the momentum encoder for the other view. No gradient flows
        to them.
      queue: `[n, d]` keys of earlier steps, the same on all devices. No gradient flows to them.
      temperature: `tau > 0`.
      pairs: a `QueueBand`, a matrix `[m, n]`, `'all'` for every row of the queue, or None.
      remove: leave the selected pairs out.
      margin: `sigma >= 0`, added to the cosine of a selected pair.
      temperature_scale: `rho > 0`, multiplies the temperature of a selected pair.
      axis_name: mapped axis over which the mean is taken; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss and the metrics, as `nt_xent`.

    Raises:
      ValueError: a temperature or scale that is not positive, a negative margin, pairs of other
        rows, queries, keys and a queue that do not fit together, or a block size below 1.

    Source: He et al. 2020, "Momentum contrast", Eq. 1; Chen et al. 2020, "MoCo v2"; Section 5 and
      Table 5 for the treatments.
    """
    check_positive(temperature=temperature, temperature_scale=temperature_scale)
    check_not_negative(margin=margin)
    fits = queue.ndim == queries.ndim == 2 and queue.shape[1] == queries.shape[1] and len(queue)
    if keys.shape != queries.shape or not fits:
        raise ValueError(
            f'queries {list(queries.shape)}, keys {list(keys.shape)}, queue {list(queue.shape)}: '
            'need a key for each query, and a queue of at least one row, all of one width'
        )
    anchors, rows = unit_rows(queries), unit_rows(lax.stop_gradient(queue))
    positives = jnp.sum(anchors * unit_rows(lax.stop_gradient(keys)), axis=-1)
    return _cross_entropy(
        Comparison(QueueAnchors(anchors), rows, positives),
        pairs,
        (temperature, margin, temperature_scale),
        remove,
        axis_name,
        block_size,
    )


def _cross_entropy(
    comparison: Comparison,
    pairs: PairChoice | QueuePairs,
    numbers: tuple[Scalar, Scalar, Scalar],
    remove: bool,
    axis_name: str | None,
    block_size: int | None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """Softmax cross-entropy of the positive against the negatives, in a batch or with a queue."""
    queue = isinstance(comparison.anchors, QueueAnchors)
    shape = len(comparison.positives), len(comparison.rows)
    entries, shared, select = selection(pairs, axis_name, shape, queue=queue)

    def anchor_loss(numbers, anchor, similarity, positive, entry, shared):
        temperature, margin, scale = numbers
        negative = anchor.negatives(len(similarity))
        chosen = select(entry, shared, negative)
        treated = (similarity + margin) / (temperature * scale)
        logits = jnp.where(chosen, treated, similarity / temperature)
        total = masked_logsumexp(logits, _kept(negative, chosen, remove))
        # -positive + log(e^positive + sum of negatives) without the difference of large numbers.
        loss = jax.nn.softplus(total - positive / temperature)
        return loss, {'selected_share': _share(chosen, negative)}

    return mean_over_anchors(
        anchor_loss,
        comparison,
        numbers,
        entries,
        shared,
        axis_name=axis_name,
        block_size=block_size,
    )


@compiler_sharded
def spectral(
    embeddings: Float[Array, 'm d'],
    *,
    mu: Scalar = 1.0,
    pairs: PairChoice = None,
    remove: bool = False,
    margin: Scalar = 0.0,
    temperature_scale: Scalar = 1.0,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """Spectral contrastive loss with removal, margin and temperature scaling of the selected pairs.

    With `s` the inner products of rows clipped to length `sqrt(mu)`, `p` the selection, `sigma` the
    margin, `rho` the temperature scale, j the positive of i and k the rows of the other view and of
    other images,

      `loss = mean_i [ -2 s_ij + mean_k (s_ik + sigma p_ik)^2 / rho^p_ik ] / mu`.

    It estimates a factorisation of the similarity graph. Let `w_xy` be the chance to draw x and y
    as the views of one image, `w_x = sum_y w_xy`, `D = diag(w_x)`, `Abar = D^-1/2 (w_xy) D^-1/2`
    and `F = D^1/2 f`. For images drawn independently, no row clipped and `mu = 1`,

      `E[loss] = sum_xy (T . Abar - Mbar - F F^T)_xy^2 / T_xy + const`,

    with `Mbar = sigma D^1/2 P D^1/2` and `T_xy = rho^p_xy`. To see this, expand the square: the
    terms with `F F^T` are `-2 w_xy s_xy + w_x w_y (s_xy^2 + 2 sigma p_xy s_xy) / T_xy`. So the
    margin subtracts from the graph, and the temperature multiplies it. Only the repulsion is
    treated, because a positive is never selected. This is why `rho` divides the square and not the
    similarity, which would multiply the graph by `rho^2`. Removal is the limit of a large `rho`,
    which has weight zero.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2; under
        `axis_name`, view 1 and then view 2 of the images of this device.
      mu: `> 0`, largest squared length of a row.
      pairs: a `DifficultBand`, a matrix `[m, n]`, `'all'` for every negative, or None.
      remove: leave the selected pairs out of the repulsion.
      margin: `sigma >= 0`, added to the inner product of a selected pair.
      temperature_scale: `rho > 0`, divides the square of a selected pair.
      axis_name: mapped axis over which the negatives are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss, a float32 scalar that is the mean over the anchors of all devices, and the metrics
      `positive_similarity` (mean inner product of clipped rows, in [-mu, mu]) and `selected_share`
      (of the pairs k, in [0, 1]). Gradients under `axis_name` are as in `nt_xent`.

    Raises:
      ValueError: `mu` or a scale that is not positive, a negative margin, an odd number of rows,
        embeddings that are not `[m, d]`, pairs of other rows, or a block size below 1.

    Source: Theorems 4.2 and 4.4; HaoChen et al. 2021.
    """
    check_positive(mu=mu, temperature_scale=temperature_scale)
    check_not_negative(margin=margin)
    m = len(embeddings)
    mu = in_float32(mu)
    comparison = within_batch(_clipped_rows(embeddings, mu), axis_name)
    shape = m, len(comparison.rows)
    entries, shared, select = selection(pairs, axis_name, shape)

    def anchor_loss(numbers, anchor, similarity, positive, entry, shared):
        mu, margin, temperature_scale = numbers
        n = len(similarity)
        second_view = jnp.arange(n) % m >= m // 2
        negative = anchor.negatives(n)
        compared = negative & (second_view == second_view[anchor.positive])
        chosen = select(entry, shared, negative) & compared
        treated = jnp.square(similarity + margin) / temperature_scale
        squares = jnp.where(chosen, treated, jnp.square(similarity))
        # Removed pairs still count in the mean, so that the weight of the others stays as it is.
        repulsion = jnp.sum(squares, where=_kept(compared, chosen, remove)) / max(n // 2 - 1, 1)
        return (repulsion - 2 * positive) / mu, {'selected_share': _share(chosen, compared)}

    return mean_over_anchors(
        anchor_loss,
        comparison,
        (mu, margin, temperature_scale),
        entries,
        shared,
        axis_name=axis_name,
        block_size=block_size,
    )


def _clipped_rows(rows: Float[Array, 'm d'], mu: Scalar) -> Float[Array, 'm d']:
    """Shortens rows that are longer than `sqrt(mu)` to that length, in float32."""
    rows = rows.astype(jnp.float32)
    long = jnp.sum(jnp.square(rows), axis=-1, keepdims=True) > mu
    return jnp.where(long, unit_rows(rows) * mu**0.5, rows)


def _kept(
    negative: Bool[Array, ' n'], chosen: Bool[Array, ' n'], remove: bool
) -> Bool[Array, ' n']:
    """Mask of the negatives that stay in the sum."""
    return negative & ~chosen if remove else negative


def _share(chosen: Bool[Array, ' n'], of: Bool[Array, ' n']) -> Float[Array, '']:
    """Number of chosen entries over the number of marked ones; 0 where none is marked."""
    return jnp.sum(chosen, dtype=jnp.float32) / jnp.maximum(jnp.sum(of, dtype=jnp.float32), 1.0)
