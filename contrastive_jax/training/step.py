"""One step of pre-training: a pure function of state and batch, the same on one device and many.

Axes: b images of this device, m = 2b views, k features, d embedding.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key

from contrastive_jax.data.batches import Batch
from contrastive_jax.models import Context, ContrastiveModel, Moments, compute_dtype
from contrastive_jax.numerics import unit_rows
from contrastive_jax.training import moco
from contrastive_jax.training.augment import two_views
from contrastive_jax.training.objective import Objective

__all__ = ['TrainState', 'init_state', 'train_step']

Metrics = dict[str, Float[Array, '']]

# What a key is folded with besides steps and places in a batch, which never get as far.
_QUEUE = _SHUFFLE = 2**31 - 1


class TrainState(NamedTuple):
    """All that a step changes, and the key that it draws from.

    Attributes:
      step: steps taken.
      params: parameters of encoder and projector.
      stats: batch statistics.
      opt_state: of the optimiser.
      key: root of the run's randomness; never changes.
      skipped: updates left out because loss or gradient were not finite.
      momentum: second encoder and queue of MoCo; None for SimCLR.
    """

    step: Int[Array, '']
    params: Any
    stats: Any
    opt_state: Any
    key: Key[Array, '']
    skipped: Int[Array, '']
    momentum: moco.Momentum | None = None


def init_state(
    config, moments: Moments, optimizer: optax.GradientTransformation, axis_name: str | None = None
) -> tuple[nnx.GraphDef, TrainState]:
    """Draws the first state of a run.

    Args:
      config: the whole config.
      moments: of the training images.
      optimizer: what `make_optimizer` returns.
      axis_name: mapped axis, for batch norm over all devices; None on one device.

    Returns:
      The static description of the model, and its state.
    """

    def build(key):
        ctx = Context(
            rngs=nnx.Rngs(key),
            dtype=compute_dtype(config.precision),
            axis_name=axis_name if config.model.sync_batch_norm else None,
        )
        return ContrastiveModel(config.model, moments, ctx)

    def draw(key):
        # Two keys: the same random numbers must not serve twice.
        build_key, run_key = jax.random.split(key)
        model = build(build_key)
        _, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
        state = TrainState(
            jnp.int32(0), params, stats, optimizer.init(params), run_key, jnp.int32(0)
        )
        if not config.moco.queue_size:
            return state
        momentum = moco.init_momentum(
            params,
            stats,
            jax.random.fold_in(run_key, _QUEUE),
            size=config.moco.queue_size,
            features=model.encoder.num_features,
            dim=config.model.projector_dim,
        )
        return state._replace(momentum=momentum)

    key = jax.random.key(config.seed)
    graphdef = nnx.graphdef(nnx.eval_shape(build, key))
    # As one program: layer by layer, every shape would be compiled by itself.
    return graphdef, jax.jit(draw)(key)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    augmentation,
    momentum_options=None,
    skip_nonfinite: bool = False,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Augments, encodes, compares with the views of all devices or with a queue, and updates.

    Args:
      state: the same on every device.
      batch: the images of this device, uint8 `[b, h, w, c]`, and their labels `[b]` or None.
      graphdef: static description of the model, from `init_state`.
      optimizer: the one that `state.opt_state` belongs to.
      objective: what `make_objective` returns.
      augmentation: the section `augment` of a config.
      momentum_options: the section `moco` of a config, where the state has a momentum encoder.
      skip_nonfinite: leave an update out whose loss or gradient is not finite, and count it.
      axis_name: mapped axis; None on one device.

    Returns:
      The next state, and metrics, the same on every device: `loss`, `gradient_norm`,
      `embedding_std`, with `skip_nonfinite` also `skipped_updates`, and those of the objective.
    """
    b = len(batch.images)
    first = 0 if axis_name is None else lax.axis_index(axis_name) * b
    key = jax.random.fold_in(state.key, state.step)
    views = two_views(key, batch.images, augmentation, first)
    labels = None if batch.labels is None else jnp.tile(batch.labels, 2)
    momentum, against = state.momentum, {}
    if momentum is not None:
        views, labels, momentum, against = _keys(
            state, graphdef, views, labels, momentum_options, key, axis_name
        )

    def loss_function(params):
        # Without the copy, new batch statistics would be written into a tracer of an outer level.
        model = nnx.merge(graphdef, params, state.stats, copy=True)
        features, embeddings = model(views, train=True)
        loss, metrics = objective(features, embeddings, labels, **against, axis_name=axis_name)
        metrics['embedding_std'] = _embedding_std(embeddings, axis_name)
        return loss, (metrics, nnx.state(model, nnx.BatchStat))

    gradient = jax.value_and_grad(loss_function, has_aux=True)
    (loss, (metrics, stats)), grads = gradient(state.params)
    if axis_name is not None:
        grads, stats = lax.pmean((grads, stats), axis_name)
    with jax.numpy_dtype_promotion('standard'):  # Optax takes powers of floats to integer steps
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {'loss': loss, 'gradient_norm': optax.tree.norm(grads), **metrics}
    new = state._replace(params=params, stats=stats, opt_state=opt_state, momentum=momentum)
    if skip_nonfinite:
        finite = jnp.isfinite(loss) & jnp.isfinite(metrics['gradient_norm'])
        new = jax.tree.map(partial(jnp.where, finite), new, state)
        new = new._replace(skipped=state.skipped + jnp.where(finite, 0, 1))
        metrics['skipped_updates'] = new.skipped.astype(jnp.float32)
    return new._replace(step=state.step + 1), metrics


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


def _keys(state, graphdef, views, labels, options, key, axis_name):
    """The views that are queries, their labels, the next momentum state, and what they are against.

    One view of an image asks for the other; with `symmetric`, each for the other.
    """
    b = len(views) // 2
    known = jnp.full(2 * b, -1, jnp.int32) if labels is None else labels
    momentum = moco.follow(state.momentum, state.params, options.momentum)
    first = 0 if options.symmetric else b
    shuffle_key = jax.random.fold_in(key, _SHUFFLE) if options.shuffle else None
    keys, stats = moco.key_rows(
        graphdef, momentum, views[first:], known[first:], shuffle_key, axis_name
    )
    if axis_name is not None:
        stats = lax.pmean(stats, axis_name)
    # The other view of image i is b rows on.
    partners = jax.tree.map(lambda rows: jnp.roll(rows, b, axis=0), keys)
    against = {'keys': partners.embeddings, 'queue': momentum.queue}
    queue = moco.enqueue(momentum.queue, keys, state.step, axis_name)
    momentum = momentum._replace(stats=stats, queue=queue)
    if options.symmetric:
        return views, labels, momentum, against
    return views[:b], None if labels is None else labels[:b], momentum, against
