"""One step of training: a pure function of state and batch, the same on one device and many.

Axes: b images of this device.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Int, Key

from contrastive_jax.data.batches import Batch
from contrastive_jax.models import Context, Moments, compute_dtype
from contrastive_jax.randomness import KeyTag, KeyUse, device_key
from contrastive_jax.tasks import moco
from contrastive_jax.training.build import build_model
from contrastive_jax.training.task import Metrics, Place, Task

__all__ = ['TrainState', 'init_state', 'train_step']


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
        return build_model(config, moments, ctx)

    def draw(model_key, run_key):
        model = build(model_key)
        _, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
        state = TrainState(
            jnp.int32(0), params, stats, optimizer.init(params), run_key, jnp.int32(0)
        )
        if not config.moco.queue_size:
            return state
        momentum = moco.init_momentum(
            params,
            stats,
            jax.random.fold_in(run_key, KeyTag.QUEUE),
            size=config.moco.queue_size,
            features=model.encoder.num_features,
            dim=config.model.projector_dim,
        )
        return state._replace(momentum=momentum)

    keys = [device_key(use, config.seed) for use in (KeyUse.MODEL, KeyUse.RUN)]
    graphdef = nnx.graphdef(nnx.eval_shape(build, keys[0]))
    # As one program: layer by layer, every shape would be compiled by itself.
    return graphdef, jax.jit(draw)(*keys)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    task: Task,
    skip_nonfinite: bool = False,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Differentiates the loss of a task on one batch, and updates.

    Args:
      state: the same on every device.
      batch: the images of this device, uint8 `[b, h, w, c]`, and their labels `[b]` or None.
      graphdef: static description of the model, from `init_state`.
      optimizer: the one that `state.opt_state` belongs to.
      task: what to train for: `contrast` or `denoise`, its options bound.
      skip_nonfinite: leave an update out whose loss or gradient is not finite, and count it.
      axis_name: mapped axis; None on one device.

    Returns:
      The next state, and metrics, the same on every device: `loss`, `gradient_norm`, with
      `skip_nonfinite` also `skipped_updates`, and those of the task.
    """
    first = 0 if axis_name is None else lax.axis_index(axis_name) * len(batch.images)
    place = Place(jax.random.fold_in(state.key, state.step), first, axis_name)

    def loss_function(params):
        # Without the copy, new batch statistics would be written into a tracer of an outer level.
        model = nnx.merge(graphdef, params, state.stats, copy=True)
        loss, metrics, momentum = task(model, state, batch, place)
        return loss, (metrics, momentum, nnx.state(model, nnx.BatchStat))

    gradient = jax.value_and_grad(loss_function, has_aux=True)
    (loss, (metrics, momentum, stats)), grads = gradient(state.params)
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
