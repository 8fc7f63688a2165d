"""Builds the objective of a step from a config: the selection of pairs and the loss.

Axes: m local views, n rows of the queue, k features, d embedding.
"""

from collections.abc import Callable
from functools import partial

import jax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from contrastive_jax import objectives
from contrastive_jax.config import resolve
from contrastive_jax.training.task import Metrics

__all__ = ['Objective', 'make_objective']

# A function of features `[m, k]`, embeddings `[m, d]`, labels `[m]` or None, and the keyword
# `axis_name`, which returns the loss and its metrics. With MoCo it also takes the keywords `keys`
# `[m, d]` and `queue`.
Objective = Callable[..., tuple[Float[Array, ''], Metrics]]


def make_objective(config: ConfigDict) -> Objective:
    """Builds the objective that `config.arm`, `config.pairs` and `config.loss` describe.

    Args:
      config: the whole config.

    Returns:
      The objective. The negatives are the other images of the batch or, with `keys` and `queue`,
      the rows of the queue. With labels, the metrics include `different_class_share` of the
      selected pairs. Apart from that, only the supervised loss uses labels.
    """
    # The command has resolved the arm already, but other callers have not.
    config, _ = resolve(config)
    pairs, block_size = config.pairs, config.loss.block_size or None
    percentiles = {'pos_high': pairs.pos_high, 'pos_low': pairs.pos_low}
    loss = _losses(config)['info_nce' if config.moco.queue_size else config.loss.name]

    @jax.named_scope('objective')
    def objective(features, embeddings, labels, *, keys=None, queue=None, axis_name=None):
        shared = {'axis_name': axis_name, 'block_size': block_size}
        inputs = (embeddings,) if queue is None else (embeddings, keys, queue.embeddings)
        if config.loss.name == 'supervised':
            return loss(*inputs, labels=labels, **shared)
        if pairs.select == 'none':
            return loss(*inputs, **shared)
        with jax.named_scope('selection'):
            selected = (
                'all' if pairs.select == 'all' else _band(features, queue, **percentiles, **shared)
            )
        value, metrics = loss(*inputs, pairs=selected, **shared)
        if labels is not None:
            metrics['different_class_share'] = _different_share(selected, labels, queue, **shared)
        return value, metrics

    return objective


def _band(features, queue, *, axis_name, **options):
    if queue is None:
        return objectives.difficult_band(features, axis_name=axis_name, **options)
    return objectives.queue_band(features, queue.features, **options)


def _different_share(selected, labels, queue, **shared):
    if queue is None:
        return objectives.different_class_share(selected, labels, **shared)
    return objectives.queue_different_class_share(selected, labels, queue.labels, **shared)


def _losses(config: ConfigDict) -> dict[str, Callable]:
    """Every loss by name, with the numbers of the config bound."""
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
