"""NT-Xent and the paper's treatments of difficult pairs, one function for every arm.

Axes: b images of this device, m = 2b local anchors, n rows of all devices, d embedding.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from contrastive_jax.numerics import cosines, map_anchors, masked_logsumexp
from contrastive_jax.objectives._batch import anchors_and_rows, mean_over_devices
from contrastive_jax.objectives.pairs import Pairs, selection

__all__ = ['nt_xent']

Metrics = dict[str, Float[Array, '']]


def nt_xent(
    embeddings: Float[Array, 'm d'],
    *,
    temperature: float,
    pairs: Pairs = None,
    remove: bool = False,
    margin: float = 0.0,
    temperature_scale: float = 1.0,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> tuple[Float[Array, ''], Metrics]:
    """NT-Xent with removal, margin and temperature scaling of the selected pairs.

    With `s` the cosines, `p` the selection, `tau` the temperature, `sigma` the margin and `rho` the
    temperature scale, the logit of a pair is `l_ik = (s_ik + sigma p_ik) / (tau rho^p_ik)`, and

      `loss = mean_i [ -s_ij / tau + log sum_{k != i} exp(l_ik) ]`, j the positive of i.

    Selected pairs leave the sum where `remove` is set; the positive is never selected.

    Args:
      embeddings: `[m, d]` projector outputs, not normalised, view 1 and then view 2.
      temperature: `tau > 0`.
      pairs: a `DifficultBand`, a matrix `[m, n]`, `'all'` for every negative, or None.
      remove: leave the selected pairs out.
      margin: `sigma >= 0`, added to the cosine of a selected pair; above 0 pushes it apart harder.
      temperature_scale: `rho > 0`, times the temperature of a selected pair; below 1 pushes harder.
      axis_name: mapped axis over which the negatives are global; None on one device.
      block_size: anchors at a time, which bounds the memory; None for all at once.

    Returns:
      The loss, the mean over the anchors of all devices, and the metrics `positive_similarity`
      (mean cosine, in [-1, 1]) and `selected_share` (of all negatives, in [0, 1]). Under
      `axis_name` average the gradients of the devices, as in any data-parallel step.

    Raises:
      ValueError: a temperature or scale that is not positive, or an odd number of rows.

    Source: Section 5, Eqs. 11 and 13-15; Chen et al. 2020.
    """
    _check_positive(temperature=temperature, temperature_scale=temperature_scale)
    anchors, rows = anchors_and_rows(embeddings, axis_name)
    m, n = len(embeddings), len(rows)
    positives = jnp.sum(anchors.unit * jnp.roll(anchors.unit, m // 2, axis=0), axis=-1)
    cuts, select = selection(pairs, axis_name)

    def anchor_loss(inputs):
        anchor, positive, cut = inputs
        negative = anchor.negatives(n)
        chosen = select(cut, negative)
        similarity = cosines(rows, anchor.unit)
        treated = (similarity + margin) / (temperature * temperature_scale)
        logits = jnp.where(chosen, treated, similarity / temperature)
        kept = negative & ~chosen if remove else negative
        contrast = masked_logsumexp(logits, kept) - positive / temperature
        # -positive + log(e^positive + sum of negatives) without the difference of large numbers.
        return jax.nn.softplus(contrast), jnp.sum(chosen, dtype=jnp.float32)

    losses, selected = map_anchors(anchor_loss, (anchors, positives, cuts), block_size)
    metrics = {
        'positive_similarity': jnp.mean(positives),
        'selected_share': jnp.mean(selected) / max(n - 2, 1),
    }
    return mean_over_devices((jnp.mean(losses), metrics), axis_name)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f'{name}={value}: must be above 0')
