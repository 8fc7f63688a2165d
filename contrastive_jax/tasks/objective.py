"""From a config to the objective of a step: which pairs are selected, and which loss treats them.

Axes: m local views, n rows of the queue, k features, d embedding.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Array, Float

from contrastive_jax import objectives
from contrastive_jax.config import resolve

__all__ = ['Objective', 'make_objective']

# Maps features `[m, k]`, embeddings `[m, d]`, labels `[m]` or None and the keyword `axis_name`
# (with MoCo also `keys` `[m, d]` and `queue`) to the loss and its metrics.
Objective = Callable[..., tuple[Float[Array, ''], dict[str, Float[Array, '']]]]


def make_objective(config) -> Objective:
    """Builds selection and loss from `config.arm`, `config.pairs` and `config.loss`.

    Returns:
      The objective. Its negatives are the other images of the batch, or, where it is given `keys`
      and `queue`, the rows of the queue. If it is given labels, its metrics hold
      `different_class_share` of the selected pairs. Only the supervised loss uses labels otherwise.
    """
    # Only the command resolves the arm; other callers pass a config with the arm as written.
    config, _ = resolve(config)
    pairs, block_size = config.pairs, config.loss.block_size or None
    percentiles = {'pos_high': pairs.pos_high, 'pos_low': pairs.pos_low}
    loss = _losses(config)['info_nce' if config.moco.queue_size else config.loss.name]

    def objective(features, embeddings, labels, *, keys=None, queue=None, axis_name=None):
        over = {'axis_name': axis_name, 'block_size': block_size}
        if queue is None:
            inputs = (embeddings,)
            band = partial(objectives.difficult_band, **over)
            different_share = objectives.different_class_share
        else:
            inputs = (embeddings, keys, queue.embeddings)
            band = partial(objectives.queue_band, queue=queue.features, block_size=block_size)
            different_share = partial(
                objectives.queue_different_class_share, queue_labels=queue.labels
            )
        if config.loss.name == 'supervised':
            return loss(*inputs, labels=labels, **over)
        if pairs.select == 'none':
            return loss(*inputs, **over)
        selected = 'all' if pairs.select == 'all' else band(features, **percentiles)
        value, metrics = loss(*inputs, pairs=selected, **over)
        if labels is not None:
            metrics['different_class_share'] = different_share(selected, labels, **over)
        return value, metrics

    return objective


def _losses(config) -> dict[str, Callable]:
    """Every loss by its name, with the numbers of the config bound."""
    options, pairs = config.loss, config.pairs
    temperature = options.temperature
    treatment = {
        'remove': pairs.remove,
        'margin': pairs.margin,
        'temperature_scale': pairs.temperature_scale,
    }
    return {
        'nt_xent': partial(objectives.nt_xent, temperature=temperature, **treatment),
        'info_nce': partial(objectives.info_nce, temperature=temperature, **treatment),
        'spectral': partial(objectives.spectral, mu=options.mu, **treatment),
        'debiased': partial(
            objectives.debiased, temperature=temperature, tau_plus=options.tau_plus
        ),
        'hard_negative': partial(
            objectives.hard_negative,
            temperature=temperature,
            tau_plus=options.tau_plus,
            beta=options.beta,
        ),
        'decoupled': partial(
            objectives.decoupled,
            temperature=temperature,
            weight_temperature=options.weight_temperature or None,
        ),
        'supervised': partial(objectives.supervised, temperature=temperature),
    }
