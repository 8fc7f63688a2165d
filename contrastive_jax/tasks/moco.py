"""Momentum contrast: what it adds to the state of a run, and to a step.

A second encoder follows the trained one slowly and makes the keys; a queue holds the keys of the
last steps as negatives, embeddings for the loss and features for the selection of pairs.

Axes: b images of this device, q keys of a step over all devices, n rows of the queue, k features,
d embedding.
Source: He et al. 2020; Chen et al. 2020 (MoCo v2).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key

__all__ = ['Momentum', 'Queue', 'Rows', 'enqueue', 'follow', 'init_momentum', 'key_rows']


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
    return Momentum(*jax.tree.map(jnp.copy, (params, stats)), queue)


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
    order = None
    if shuffle_key is not None and axis_name is not None:
        count = lax.axis_size(axis_name) * len(views)
        order = jax.random.permutation(shuffle_key, count)
        views = _own(_everywhere(views, axis_name)[order], axis_name)
    model = nnx.merge(graphdef, momentum.params, momentum.stats, copy=True)
    features, embeddings = model(views, train=True)
    if order is not None:
        back = jnp.argsort(order)
        features, embeddings = (
            _own(_everywhere(rows, axis_name)[back], axis_name) for rows in (features, embeddings)
        )
    rows = jax.tree.map(lax.stop_gradient, Rows(features, embeddings, labels))
    return rows, nnx.state(model, nnx.BatchStat)


def enqueue(queue: Queue, keys: Rows, step: Int[Array, ''], axis_name: str | None) -> Queue:
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
