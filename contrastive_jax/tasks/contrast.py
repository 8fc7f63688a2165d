"""The task of contrastive pre-training: views that attract, against a batch or against a queue.

Axes: b images of this device, m = 2b views, d embedding.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from contrastive_jax.data.batches import Batch
from contrastive_jax.models import ContrastiveModel
from contrastive_jax.numerics import unit_rows
from contrastive_jax.randomness import KeyTag
from contrastive_jax.tasks import moco
from contrastive_jax.tasks.objective import Objective
from contrastive_jax.training.augment import two_views
from contrastive_jax.training.task import Outcome, Place

__all__ = ['contrast']


def contrast(
    model: ContrastiveModel,
    state,
    batch: Batch,
    place: Place,
    *,
    graphdef: nnx.GraphDef,
    objective: Objective,
    augmentation,
    momentum_options=None,
) -> Outcome:
    """Augments, encodes, and compares with the views of all devices or with a queue.

    Args:
      model: encoder and projector, trained.
      state: of the run; its momentum encoder, where there is one, makes the keys.
      batch: images uint8 `[b, h, w, c]`, and labels `[b]` or None.
      place: key and devices.
      graphdef: static description of the model.
      objective: what `make_objective` returns.
      augmentation: the section `augment` of a config.
      momentum_options: the section `moco` of a config, where the state has a momentum encoder.
    """
    views = two_views(place.key, batch.images, augmentation, place.first)
    labels = None if batch.labels is None else jnp.tile(batch.labels, 2)
    momentum, against = state.momentum, {}
    if momentum is not None:
        views, labels, momentum, against = _keys(
            state, graphdef, views, labels, momentum_options, place
        )
    features, embeddings = model(views, train=True)
    loss, metrics = objective(features, embeddings, labels, **against, axis_name=place.axis_name)
    metrics['embedding_std'] = _embedding_std(embeddings, place.axis_name)
    return Outcome(loss, metrics, momentum)


def _embedding_std(embeddings: Float[Array, 'm d'], axis_name: str | None) -> Float[Array, '']:
    """How far the directions of all embeddings are spread; 0 if they are one, and 1 at most.

    `sqrt(d)` times the root mean square over dimensions of their standard deviation, which is
    `sqrt(mean |u|^2 - |mean u|^2)` for unit rows u.
    """
    unit = unit_rows(lax.stop_gradient(embeddings))
    squares = jnp.mean(jnp.sum(jnp.square(unit), axis=1))
    mean = jnp.mean(unit, axis=0)
    if axis_name is not None:
        squares, mean = lax.pmean((squares, mean), axis_name)
    return jnp.sqrt(jnp.maximum(squares - jnp.sum(jnp.square(mean)), 0))


def _keys(state, graphdef, views, labels, options, place: Place):
    """The views that are queries, their labels, the next momentum state, and what they are against.

    One view of an image asks for the other; with `symmetric`, each for the other.
    """
    b = len(views) // 2
    known = jnp.full(2 * b, -1, jnp.int32) if labels is None else labels
    momentum = moco.follow(state.momentum, state.params, options.momentum)
    first = 0 if options.symmetric else b
    shuffle_key = jax.random.fold_in(place.key, KeyTag.SHUFFLE) if options.shuffle else None
    keys, stats = moco.key_rows(
        graphdef, momentum, views[first:], known[first:], shuffle_key, place.axis_name
    )
    if place.axis_name is not None:
        stats = lax.pmean(stats, place.axis_name)
    # The other view of image i is b rows on.
    partners = jax.tree.map(lambda rows: jnp.roll(rows, b, axis=0), keys)
    against = {'keys': partners.embeddings, 'queue': momentum.queue}
    queue = moco.enqueue(momentum.queue, keys, state.step, place.axis_name)
    momentum = momentum._replace(stats=stats, queue=queue)
    if options.symmetric:
        return views, labels, momentum, against
    return views[:b], None if labels is None else labels[:b], momentum, against
