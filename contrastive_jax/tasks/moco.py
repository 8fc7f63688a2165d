"""The task of momentum contrast: views against the keys of a queue.

A second encoder follows the trained one slowly and makes the keys; a queue holds the keys of the
last steps as negatives, embeddings for the loss and features for the selection of pairs.

Axes: b images of this device, q keys of a step over all devices, n rows of the queue, k features,
d embedding, h w pixels, c channels.
Source: He et al. 2020; Chen et al. 2020 (MoCo v2).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key

from contrastive_jax.data.batches import Batch
from contrastive_jax.models import ContrastiveModel
from contrastive_jax.randomness import KeyTag
from contrastive_jax.tasks import contrast
from contrastive_jax.tasks.objective import Objective, make_objective
from contrastive_jax.training.task import Outcome, StepContext, Task

__all__ = [
    'Momentum',
    'Queue',
    'Rows',
    'enqueue',
    'follow',
    'init_momentum',
    'key_rows',
    'make_task',
    'moco_loss',
]


class Rows(NamedTuple):
    """Images as the losses see them.

    Attributes:
      features: `[r, k]` before the projector.
      embeddings: `[r, d]` after it.
      labels: `[r]`, -1 where unknown; only statistics use them.
    """

    features: Float[Array, 'r k']
    embeddings: Float[Array, 'r d']
    labels: Int[Array, ' r']


Queue = Rows


class Momentum(NamedTuple):
    """State of the second encoder and its queue.

    Attributes:
      params: parameters of encoder and projector.
      stats: batch statistics.
      queue: keys of earlier steps, the same on every device.
    """

    params: Any
    stats: Any
    queue: Queue


def make_task(config) -> Task:
    """The task of contrast within a batch, with a queue in place of the batch.

    Args:
      config: the whole config.
    """
    return contrast.make_task(config)._replace(
        init=partial(_init, size=config.moco.queue_size, dim=config.model.projector_dim),
        loss=partial(
            moco_loss,
            objective=make_objective(config),
            augmentation=config.augment,
            options=config.moco,
        ),
    )


def moco_loss(
    model: ContrastiveModel,
    extra: Momentum,
    batch: Batch,
    context: StepContext,
    *,
    objective: Objective,
    augmentation,
    options,
) -> Outcome:
    """Augments, encodes queries and keys, and compares the queries with their keys and a queue.

    Args:
      model: encoder and projector, trained.
      extra: second encoder and queue.
      batch: images uint8 `[b, h, w, c]`, and labels `[b]` or None.
      context: of the step.
      objective: what `make_objective` returns.
      augmentation: the section `augment` of a config.
      options: the section `moco` of a config.
    """
    views, labels = contrast.views_of(batch, context, augmentation)
    momentum, against = _keys(model, extra, views, labels, options, context)
    if not options.symmetric:
        b = len(batch.images)
        views, labels = views[:b], None if labels is None else labels[:b]
    loss, metrics = contrast.compare(model, views, labels, objective, context.axis_name, **against)
    return Outcome(loss, metrics, momentum)


def _keys(model, momentum: Momentum, views, labels, options, context: StepContext):
    """The next momentum state, and the keys and the queue that the queries are compared with.

    One view of an image is compared with the other; with `symmetric`, each with the other.
    """
    b = len(views) // 2
    known = jnp.full(2 * b, -1, jnp.int32) if labels is None else labels
    graphdef, params = nnx.graphdef(model), nnx.state(model, nnx.Param)
    momentum = follow(momentum, lax.stop_gradient(params), options.momentum)
    first = 0 if options.symmetric else b
    shuffle_key = jax.random.fold_in(context.key, KeyTag.SHUFFLE) if options.shuffle else None
    keys, stats = key_rows(
        graphdef, momentum, views[first:], known[first:], shuffle_key, context.axis_name
    )
    if context.axis_name is not None:
        stats = lax.pmean(stats, context.axis_name)
    # The other view of image i is b rows on.
    partners = jax.tree.map(lambda rows: jnp.roll(rows, b, axis=0), keys)
    against = {'keys': partners.embeddings, 'queue': momentum.queue}
    queue = enqueue(momentum.queue, keys, context.step, context.axis_name)
    return momentum._replace(stats=stats, queue=queue), against


def _init(model: ContrastiveModel, key: Key[Array, ''], *, size: int, dim: int) -> Momentum:
    return init_momentum(
        nnx.state(model, nnx.Param),
        nnx.state(model, nnx.BatchStat),
        jax.random.fold_in(key, KeyTag.QUEUE),
        size=size,
        features=model.encoder.num_features,
        dim=dim,
    )


def init_momentum(
    params: Any, stats: Any, key: Key[Array, ''], *, size: int, features: int, dim: int
) -> Momentum:
    """A copy of the encoder, and a queue of random directions.

    Args:
      params: parameters at the start.
      stats: batch statistics at the start.
      key: of the random directions.
      size: n.
      features: k.
      dim: d.
    """
    feature_key, embedding_key = jax.random.split(key)
    queue = Queue(
        jax.random.normal(feature_key, (size, features)),
        jax.random.normal(embedding_key, (size, dim)),
        jnp.full(size, -1),
    )
    # Copies: a step donates its state, and no buffer can be given away twice.
    params, stats = jax.tree.map(jnp.copy, (params, stats))
    return Momentum(params, stats, queue)


def follow(momentum: Momentum, params: Any, rate: float) -> Momentum:
    """Moves the second encoder: `theta' <- rate theta' + (1 - rate) theta`."""
    # `optax.incremental_update` adds in the other order, which rounds differently on resuming.
    moved = jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, momentum.params, params)
    return momentum._replace(params=moved)


def key_rows(
    graphdef: nnx.GraphDef,
    momentum: Momentum,
    views: Float[Array, 'r h w c'],
    labels: Int[Array, ' r'],
    shuffle_key: Key[Array, ''] | None,
    axis_name: str | None,
) -> tuple[Rows, Any]:
    """Encodes views as keys, without gradient.

    Args:
      graphdef: static description of the model.
      momentum: the second encoder.
      views: of this device.
      labels: of these views.
      shuffle_key: spreads the views over the devices in another order while they are encoded, so
        that batch statistics of one device tell nothing of its own images; the same key on all
        devices. None leaves them in place.
      axis_name: mapped axis; None on one device.

    Returns:
      The rows of this device, in the order of its views, and the new batch statistics.
    """
    model = nnx.merge(graphdef, momentum.params, momentum.stats, copy=True)
    if shuffle_key is None or axis_name is None:
        features, embeddings = model(views, train=True)
    else:
        order = jax.random.permutation(shuffle_key, lax.axis_size(axis_name) * len(views))
        shuffled = _own(_everywhere(views, axis_name)[order], axis_name)
        back = jnp.argsort(order)
        features, embeddings = (
            _own(_everywhere(rows, axis_name)[back], axis_name)
            for rows in model(shuffled, train=True)
        )
    rows = jax.tree.map(lax.stop_gradient, Rows(features, embeddings, labels))
    return rows, nnx.state(model, nnx.BatchStat)


def enqueue(queue: Queue, keys: Rows, step: int | Int[Array, ''], axis_name: str | None) -> Queue:
    """Writes the keys of all devices over the oldest rows.

    Where they begin follows from the step, `step q mod n`, so there is no pointer to save.

    Args:
      queue: n rows, n a multiple of q.
      keys: of this device.
      step: steps taken before this one.
      axis_name: mapped axis; None on one device.
    """
    keys = jax.tree.map(lambda rows: _everywhere(rows, axis_name), keys)
    count, size = len(keys.labels), len(queue.labels)
    start = (step % (size // count)) * count
    return jax.tree.map(
        lambda rows, new: lax.dynamic_update_slice_in_dim(rows, new, start, axis=0), queue, keys
    )


def _everywhere(rows: Array, axis_name: str | None) -> Array:
    return rows if axis_name is None else lax.all_gather(rows, axis_name, axis=0, tiled=True)


def _own(rows: Array, axis_name: str) -> Array:
    size = len(rows) // lax.axis_size(axis_name)
    return lax.dynamic_slice_in_dim(rows, lax.axis_index(axis_name) * size, size)
