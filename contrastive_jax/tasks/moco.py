"""The task of momentum contrast: views are compared with the keys in a queue.

A momentum encoder follows the trained encoder slowly and computes the keys. A queue holds the keys
of the last steps as negatives: their embeddings for the loss, and their features for the selection
of pairs.

Axes: b images of this device, m = 2b views, r rows of this device, q keys of a step over all
devices, n rows of the queue, k features, d embedding, h w pixels, c channels.
Source: He et al. 2020; Chen et al. 2020 (MoCo v2).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from contrastive_jax.data.batches import Batch
from contrastive_jax.models import ContrastiveModel
from contrastive_jax.numerics import gather
from contrastive_jax.randomness import KeyTag
from contrastive_jax.tasks import contrast
from contrastive_jax.tasks.objective import Objective, make_objective
from contrastive_jax.training.task import Outcome, StepContext, Task

__all__ = [
    'EncodedRows',
    'Momentum',
    'Queue',
    'enqueue',
    'follow',
    'key_rows',
    'make_task',
    'moco_loss',
]


class EncodedRows(NamedTuple):
    """Encoded views, one in each row.

    Attributes:
      features: `[r, k]` outputs of the encoder.
      embeddings: `[r, d]` outputs of the projector.
      labels: `[r]` class of each view, -1 if unknown; only metrics use them.
    """

    features: Float[Array, 'r k']
    embeddings: Float[Array, 'r d']
    labels: Int[Array, ' r']


Queue = EncodedRows


class Momentum(NamedTuple):
    """State of the momentum encoder and its queue.

    Attributes:
      params: parameters of the momentum encoder and its projector.
      stats: batch statistics of the momentum encoder.
      queue: keys of earlier steps, the same on every device.
    """

    params: Any
    stats: Any
    queue: Queue


def make_task(config: ConfigDict) -> Task:
    """The task of contrastive pre-training with negatives from a queue.

    Args:
      config: the whole config.

    Returns:
      The task, whose extra state is a `Momentum`.
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
    augmentation: ConfigDict,
    options: ConfigDict,
) -> Outcome:
    """Augments images, encodes queries and keys, and compares the queries with keys and queue.

    Args:
      model: encoder and projector.
      extra: momentum encoder and queue.
      batch: uint8 images `[b, h, w, c]`, and labels `[b]` or None.
      context: context of the step.
      objective: objective that `make_objective` returns.
      augmentation: the section `augment` of a config.
      options: the section `moco` of a config.

    Returns:
      The loss, a float32 scalar that is the mean over all devices, the metrics of
      `contrast.compare`, and the next `Momentum`, whose queue holds the keys of this step.
    """
    views, labels = contrast.views_of(batch, context, augmentation)
    momentum, negatives = _keys(model, extra, views, labels, options, context)
    if not options.symmetric:
        b = len(batch.images)
        views, labels = views[:b], None if labels is None else labels[:b]
    loss, metrics = contrast.compare(
        model, views, labels, objective, context.axis_name, **negatives
    )
    return Outcome(loss, metrics, momentum)


def _keys(
    model: ContrastiveModel,
    momentum: Momentum,
    views: Float[Array, 'm h w c'],
    labels: Int[Array, ' m'] | None,
    options: ConfigDict,
    context: StepContext,
) -> tuple[Momentum, dict[str, Any]]:
    """The next momentum state, and the keys and the queue that the queries are compared with.

    The first view of an image is the query and the second one the key; with `symmetric`, each view
    is also the query of the other.
    """
    b = len(views) // 2
    row_labels = jnp.full(2 * b, -1, jnp.int32) if labels is None else labels
    graphdef, params = nnx.graphdef(model), nnx.state(model, nnx.Param)
    momentum = follow(momentum, lax.stop_gradient(params), options.momentum)
    first = 0 if options.symmetric else b
    shuffle_key = jax.random.fold_in(context.key, KeyTag.SHUFFLE) if options.shuffle else None
    keys, stats = key_rows(
        graphdef, momentum, views[first:], row_labels[first:], shuffle_key, context.axis_name
    )
    if context.axis_name is not None:
        stats = lax.pmean(stats, context.axis_name)
    # The other view of an image is b rows further.
    partners = jax.tree.map(lambda rows: jnp.roll(rows, b, axis=0), keys)
    negatives = {'keys': partners.embeddings, 'queue': momentum.queue}
    queue = enqueue(momentum.queue, keys, context.step, context.axis_name)
    return momentum._replace(stats=stats, queue=queue), negatives


def _init(model: ContrastiveModel, key: Key[Array, ''], *, size: int, dim: int) -> Momentum:
    """Copies the encoder, and fills the queue with n = `size` random directions."""
    feature_key, embedding_key = jax.random.split(jax.random.fold_in(key, KeyTag.QUEUE))
    queue = Queue(
        jax.random.normal(feature_key, (size, model.encoder.num_features)),
        jax.random.normal(embedding_key, (size, dim)),
        jnp.full(size, -1, jnp.int32),
    )
    # A step donates its state, and no buffer can be donated twice. So these must be copies.
    params, stats = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param, nnx.BatchStat))
    return Momentum(params, stats, queue)


def follow(momentum: Momentum, params: Any, rate: float) -> Momentum:
    """Moves the momentum encoder: `theta' <- rate theta' + (1 - rate) theta`."""
    # `optax.incremental_update` adds in the other order, which rounds differently. A run that an
    # earlier version began would not resume bit for bit.
    moved = jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, momentum.params, params)
    return momentum._replace(params=moved)


def key_rows(
    graphdef: nnx.GraphDef,
    momentum: Momentum,
    views: Float[Array, 'r h w c'],
    labels: Int[Array, ' r'],
    shuffle_key: Key[Array, ''] | None,
    axis_name: str | None,
) -> tuple[EncodedRows, Any]:
    """Encodes views as keys, without gradient.

    Args:
      graphdef: static description of the model.
      momentum: state of the momentum encoder.
      views: views on this device.
      labels: labels of these views.
      shuffle_key: random key, the same on all devices, of the order in which the views are spread
        over the devices for encoding. Then the batch statistics of a device tell nothing about its
        own images. None encodes each view on its own device.
      axis_name: name of the mapped axis; None on one device.

    Returns:
      The rows of this device, in the order of its views, and the new batch statistics.
    """
    model = nnx.merge(graphdef, momentum.params, momentum.stats, copy=True)
    if shuffle_key is None or axis_name is None:
        features, embeddings = model(views, train=True)
    else:
        order = jax.random.permutation(shuffle_key, lax.axis_size(axis_name) * len(views))
        shuffled = _own(gather(views, axis_name)[order], axis_name)
        back = jnp.argsort(order)
        features, embeddings = (
            _own(gather(rows, axis_name)[back], axis_name) for rows in model(shuffled, train=True)
        )
    rows = jax.tree.map(lax.stop_gradient, EncodedRows(features, embeddings, labels))
    return rows, nnx.state(model, nnx.BatchStat)


def enqueue(
    queue: Queue, keys: EncodedRows, step: int | Int[Array, ''], axis_name: str | None
) -> Queue:
    """Replaces the oldest rows of the queue with the keys of all devices.

    The first row to replace is `step q mod n`, so no pointer has to be saved.

    Args:
      queue: n rows, where n is a multiple of q.
      keys: keys of this device.
      step: number of finished steps before this one.
      axis_name: name of the mapped axis; None on one device.

    Returns:
      The queue with q new rows, the same on every device.
    """
    keys = jax.tree.map(lambda rows: gather(rows, axis_name), keys)
    count, size = len(keys.labels), len(queue.labels)
    start = (step % (size // count)) * count
    return jax.tree.map(
        lambda rows, new: lax.dynamic_update_slice_in_dim(rows, new, start, axis=0), queue, keys
    )


def _own(rows: Array, axis_name: str) -> Array:
    size = len(rows) // lax.axis_size(axis_name)
    return lax.dynamic_slice_in_dim(rows, lax.axis_index(axis_name) * size, size)
