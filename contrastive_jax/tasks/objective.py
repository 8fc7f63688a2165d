"""From a config to the objective of a step: which pairs are selected, and which loss sees them.

Axes: m local views, k features, d embedding.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Array, Float

from contrastive_jax import objectives
from contrastive_jax.config import resolve

__all__ = ['Objective', 'make_objective']

# Of features `[m, k]`, embeddings `[m, d]`, labels `[m]` or None, and the keyword `axis_name`, with
# MoCo also `keys` `[m, d]` and `queue`; to the loss and its metrics.
Objective = Callable[..., tuple[Float[Array, ''], dict[str, Float[Array, '']]]]


def make_objective(config) -> Objective:
    """Selection and loss as `config.arm`, `config.pairs` and `config.loss` name them.

    Returns:
      The objective. With labels its metrics hold `different_class_share` of the selected pairs;
      labels serve for this alone, but for the supervised loss.
    """
    # For those who build a step without the command, whose arm nobody has resolved yet.
    config, _ = resolve(config)
    return _queue_objective(config) if config.moco.queue_size else _batch_objective(config)


def _batch_objective(config) -> Objective:
    """Negatives are the other images of the batch."""
    pairs, options = config.pairs, config.loss
    block_size = options.block_size or None
    loss = _loss(config)

    def objective(features, embeddings, labels, *, axis_name=None):
        over = {'axis_name': axis_name, 'block_size': block_size}
        selected = {'none': None, 'all': 'all'}.get(pairs.select)
        if pairs.select == 'difficult':
            selected = objectives.difficult_band(
                features, pos_high=pairs.pos_high, pos_low=pairs.pos_low, **over
            )
        if options.name == 'supervised':
            over['labels'] = labels
        if selected is None:
            return loss(embeddings, **over)
        value, metrics = loss(embeddings, pairs=selected, **over)
        if labels is not None:
            metrics['different_class_share'] = objectives.different_class_share(
                selected, labels, axis_name=axis_name, block_size=block_size
            )
        return value, metrics

    return objective


def _queue_objective(config) -> Objective:
    """Negatives are the keys in the queue of the momentum encoder."""
    pairs, options = config.pairs, config.loss
    block_size = options.block_size or None

    def objective(features, embeddings, labels, *, keys, queue, axis_name=None):
        selected = {'none': None, 'all': 'all'}.get(pairs.select)
        if pairs.select == 'difficult':
            selected = objectives.queue_band(
                features,
                queue.features,
                pos_high=pairs.pos_high,
                pos_low=pairs.pos_low,
                block_size=block_size,
            )
        over = {'axis_name': axis_name, 'block_size': block_size}
        value, metrics = objectives.info_nce(
            embeddings,
            keys,
            queue.embeddings,
            temperature=options.temperature,
            pairs=selected,
            **_treatment(pairs),
            **over,
        )
        if selected is not None and labels is not None:
            metrics['different_class_share'] = objectives.queue_different_class_share(
                selected, labels, queue.labels, **over
            )
        return value, metrics

    return objective


def _treatment(pairs) -> dict:
    return {
        'remove': pairs.remove,
        'margin': pairs.margin,
        'temperature_scale': pairs.temperature_scale,
    }


def _loss(config) -> Callable:
    """The loss with all its numbers bound."""
    options = config.loss
    temperature, treatment = options.temperature, _treatment(config.pairs)
    losses = {
        'nt_xent': partial(objectives.nt_xent, temperature=temperature, **treatment),
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
    return losses[options.name]
