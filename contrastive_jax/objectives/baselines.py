"""Published losses to compare with: debiased, hard negatives, decoupled, supervised.

Axes: b images of this device, m = 2b local anchors, n rows of all devices, d embedding.
In every formula `s` are the cosines, `t` the temperature, j is the positive of anchor i, and k runs
over its `N = n - 2` negatives. Gradients under `axis_name` are as in `nt_xent`.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from contrastive_jax.numerics import (
    Scalar,
    check_classes,
    compiler_sharded,
    gather,
    masked_logsumexp,
    unit_rows,
)
from contrastive_jax.objectives._compare import (
    LossMetrics,
    check_not_negative,
    check_positive,
    in_float32,
    known_number,
    mean_over_anchors,
    positive_similarities,
    within_batch,
)

__all__ = ['debiased', 'decoupled', 'hard_negative', 'supervised']


@compiler_sharded
def hard_negative(
    embeddings: Float[Array, 'm d'],
    *,
    temperature: Scalar,
    tau_plus: Scalar = 0.1,
    beta: Scalar = 1.0,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """Contrastive loss with negatives weighted by hardness and corrected for false ones.

    With `p = exp(s_ij / t)` and `w_k = exp(beta s_ik / t)`,

      `R = N sum_k w_k exp(s_ik / t) / sum_k w_k`,
      `G = max((R - N tau_plus p) / (1 - tau_plus), N exp(-1 / t))`,
      `loss = mean_i -log(p / (p + G))`.

    The weights depend on the embeddings too, and the gradient flows through them.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2.
      temperature: `t > 0`.
      tau_plus: in [0, 1), probability that a negative is of the anchor's class. Differentiable
        above 0.
      beta: concentration on hard negatives, at least 0. With 0 all weights are equal.
      axis_name: mapped axis over which the negatives are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss, which is the mean over the anchors of all devices, and the metric
      `positive_similarity` (mean cosine, in [-1, 1]).

    Raises:
      ValueError: `temperature`, `tau_plus` or `beta` out of range, an odd number of rows,
        embeddings that are not `[m, d]`, or a block size below 1.

    Source: Robinson et al. 2021.
    """
    check_positive(temperature=temperature)
    check_not_negative(beta=beta)
    chance = known_number('tau_plus', tau_plus)
    if chance is not None and not 0 <= chance < 1:
        raise ValueError(f'tau_plus={tau_plus}: must be in [0, 1), a chance')

    def anchor_loss(numbers, anchor, similarity, positive, *_):
        temperature, tau_plus, beta = numbers
        n = len(similarity)
        negative = anchor.negatives(n)
        logits, positive = similarity / temperature, positive / temperature
        log_weights = beta * logits - masked_logsumexp(beta * logits, negative)
        # log R / N, log tau_plus p and log G / N.
        mean = masked_logsumexp(logits + log_weights, negative)
        false = jnp.log(tau_plus) + positive
        log_g = jnp.maximum(_log_difference(mean, false) - jnp.log1p(-tau_plus), -1 / temperature)
        return jax.nn.softplus(jnp.log(n - 2.0) + log_g - positive), {}

    comparison = within_batch(unit_rows(embeddings), axis_name)
    numbers = (temperature, tau_plus, beta)
    return mean_over_anchors(
        anchor_loss, comparison, numbers, axis_name=axis_name, block_size=block_size
    )


def _log_difference(a: Float[Array, ''], b: Float[Array, '']) -> Float[Array, '']:
    """`log(exp(a) - exp(b))`; `-inf` with zero gradient where `a <= b`."""
    above = a > b
    # The inner value must be finite on both sides: a NaN gradient would pass the outer `where`.
    gap = jnp.where(above, a - b, 1.0)
    return jnp.where(above, a + jax.nn.log1mexp(gap), -jnp.inf)


def debiased(
    embeddings: Float[Array, 'm d'],
    *,
    temperature: Scalar,
    tau_plus: Scalar = 0.1,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """Contrastive loss corrected for false negatives: `hard_negative` with `beta = 0`.

    `G = max((sum_k exp(s_ik / t) - N tau_plus p) / (1 - tau_plus), N exp(-1 / t))`.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2.
      temperature: `t > 0`.
      tau_plus: in [0, 1), probability that a negative is of the anchor's class. Differentiable
        above 0.
      axis_name: mapped axis over which the negatives are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss, which is the mean over the anchors of all devices, and the metric
      `positive_similarity` (mean cosine, in [-1, 1]).

    Raises:
      ValueError: `temperature` or `tau_plus` out of range, an odd number of rows, embeddings that
        are not `[m, d]`, or a block size below 1.

    Source: Chuang et al. 2020.
    """
    return hard_negative(
        embeddings,
        temperature=temperature,
        tau_plus=tau_plus,
        beta=0.0,
        axis_name=axis_name,
        block_size=block_size,
    )


@compiler_sharded
def decoupled(
    embeddings: Float[Array, 'm d'],
    *,
    temperature: Scalar,
    weight_temperature: Scalar | None = None,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """NT-Xent without the positive in the denominator (DCL), or with weighted positives (DCLW).

      `loss = mean_i [ -w_i s_ij / t + log sum_k exp(s_ik / t) ]`,

    `w = 1`, or `w_i = 2 - exp(s_ij / weight_temperature) / mean_i exp(s_ij / weight_temperature)`
    without gradient. The weights favour images whose views are still far apart.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2.
      temperature: `t > 0`.
      weight_temperature: `> 0`; the source uses 0.5. None gives equal weights.
      axis_name: mapped axis over which the negatives are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss, which is the mean over the anchors of all devices and may be below zero, and the
      metric `positive_similarity` (mean cosine, in [-1, 1]). A single image has no negatives, and
      its sum counts as 1.

    Raises:
      ValueError: a temperature that is not positive, an odd number of rows, embeddings that are not
        `[m, d]`, or a block size below 1.

    Source: Yeh et al. 2022.
    """
    check_positive(temperature=temperature)
    unit = unit_rows(embeddings)
    weights = jnp.ones(len(unit), jnp.float32)
    if weight_temperature is not None:
        check_positive(weight_temperature=weight_temperature)
        weight_temperature = in_float32(weight_temperature)
        own = lax.stop_gradient(positive_similarities(unit))
        everyone = gather(own, axis_name)
        # Subtracting the largest from the cosines costs no digits; from the exponents it would.
        own, everyone = (
            jnp.exp((some - jnp.max(everyone)) / weight_temperature) for some in (own, everyone)
        )
        weights = 2 - own / jnp.mean(everyone)

    def anchor_loss(numbers, anchor, similarity, positive, weight, _):
        (temperature,) = numbers
        n = len(similarity)
        total = masked_logsumexp(similarity / temperature, anchor.negatives(n)) if n > 2 else 0.0
        return total - weight * positive / temperature, {}

    return mean_over_anchors(
        anchor_loss,
        within_batch(unit, axis_name),
        (temperature,),
        weights,
        axis_name=axis_name,
        block_size=block_size,
    )


@compiler_sharded
def supervised(
    embeddings: Float[Array, 'm d'],
    *,
    labels: Int[Array, ' m'],
    temperature: Scalar,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], LossMetrics]:
    """Supervised contrastive loss: every row of the anchor's class is a positive.

      `loss = mean_i [ log sum_{k != i} exp(s_ik / t) - mean_{k != i, y_k = y_i} s_ik / t ]`.

    If every image has a class of its own, this is NT-Xent.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2.
      labels: `[m]` class of each row, the same for both views of an image.
      temperature: `t > 0`.
      axis_name: mapped axis over which the rows are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for `numerics.default_block`.

    Returns:
      The loss, which is the mean over the anchors of all devices, and the metric
      `positive_similarity` (mean cosine of the two views of an image, in [-1, 1]).

    Raises:
      ValueError: a temperature that is not positive, an odd number of rows, embeddings that are not
        `[m, d]`, labels that are not one integer for each row, or a block size below 1.

    Source: Khosla et al. 2020, Eq. 2.
    """
    check_positive(temperature=temperature)
    check_classes(labels, len(embeddings), 'labels', of='embeddings')
    classes = gather(labels, axis_name)

    def anchor_loss(numbers, anchor, similarity, _, label, classes):
        (temperature,) = numbers
        logits = similarity / temperature
        others = jnp.arange(len(logits), dtype=jnp.int32) != anchor.index
        attraction = jnp.mean(logits, where=others & (classes == label))
        return masked_logsumexp(logits - attraction, others), {}

    comparison = within_batch(unit_rows(embeddings), axis_name)
    return mean_over_anchors(
        anchor_loss,
        comparison,
        (temperature,),
        labels,
        classes,
        axis_name=axis_name,
        block_size=block_size,
    )
