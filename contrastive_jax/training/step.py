"""One step of training: a pure function of state and batch, the same on one device and many.

Axes: b images of this device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Int, Key

from contrastive_jax.models import Context
from contrastive_jax.training.task import Metrics, Outcome, StepContext

__all__ = ['TrainState', 'init_state', 'train_step']


class TrainState(NamedTuple):
    """All that a step changes, and the key that it draws from.

    Attributes:
      step: steps taken.
      params: parameters of the model.
      stats: batch statistics.
      opt_state: of the optimiser.
      key: root of the run's randomness; never changes.
      skipped: updates left out because loss or gradient were not finite.
      extra: what else the task keeps from step to step; None for nothing.
    """

    step: Int[Array, '']
    params: Any
    stats: Any
    opt_state: Any
    key: Key[Array, '']
    skipped: Int[Array, '']
    extra: Any = None


def init_state(
    build: Callable[[Context], nnx.Module],
    optimizer: optax.GradientTransformation,
    *,
    model_key: Key[Array, ''],
    run_key: Key[Array, ''],
    init: Callable[[nnx.Module, Key[Array, '']], Any] = lambda model, key: None,
    context: Callable[[nnx.Rngs], Context] = Context,
) -> tuple[nnx.GraphDef, TrainState]:
    """Draws the first state of a run.

    Args:
      build: the model, of what its layers share.
      optimizer: what updates its parameters.
      model_key: of the first parameters.
      run_key: of all else that the run draws.
      init: extra state, of the model and a key.
      context: what the layers share, of the source of their parameters.

    Returns:
      The static description of the model, and its state.
    """

    def model_of(key):
        return build(context(nnx.Rngs(key)))

    def draw(model_key, run_key):
        model = model_of(model_key)
        _, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
        return TrainState(
            jnp.int32(0),
            params,
            stats,
            optimizer.init(params),
            run_key,
            jnp.int32(0),
            init(model, run_key),
        )

    graphdef = nnx.graphdef(nnx.eval_shape(model_of, model_key))
    # As one program: layer by layer, every shape would be compiled by itself.
    return graphdef, jax.jit(draw)(model_key, run_key)


def train_step(
    state: TrainState,
    batch: Any,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Outcome],
    skip_nonfinite: bool = False,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Differentiates a loss on one batch, and updates.

    Args:
      state: the same on every device.
      batch: what the loss takes: for most tasks the images of this device, uint8
        `[b, h, w, c]`, and their labels `[b]` or None; where the step is mapped, `batch.images`
        has as many rows as the batch has images.
      graphdef: static description of the model, from `init_state`.
      optimizer: the one that `state.opt_state` belongs to.
      loss: what to train for: `Task.loss`.
      skip_nonfinite: leave an update out whose loss or gradient is not finite, and count it.
      axis_name: mapped axis; None on one device.

    Returns:
      The next state, and metrics, the same on every device: `loss`, `gradient_norm`, with
      `skip_nonfinite` also `skipped_updates`, and those of the loss.
    """
    first = 0 if axis_name is None else lax.axis_index(axis_name) * len(batch.images)
    key = jax.random.fold_in(state.key, state.step)
    context = StepContext(key, first, axis_name, state.step)

    def loss_function(params):
        # Without the copy, new batch statistics would be written into a tracer of an outer level.
        model = nnx.merge(graphdef, params, state.stats, copy=True)
        value, metrics, extra = loss(model, state.extra, batch, context)
        return value, (metrics, extra, nnx.state(model, nnx.BatchStat))

    gradient = jax.value_and_grad(loss_function, has_aux=True)
    (value, (metrics, extra, stats)), grads = gradient(state.params)
    if axis_name is not None:
        grads, stats = lax.pmean((grads, stats), axis_name)
    with jax.numpy_dtype_promotion('standard'):  # Optax takes powers of floats to integer steps
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {'loss': value, 'gradient_norm': optax.tree.norm(grads), **metrics}
    new = state._replace(params=params, stats=stats, opt_state=opt_state, extra=extra)
    if skip_nonfinite:
        finite = jnp.isfinite(value) & jnp.isfinite(metrics['gradient_norm'])
        new = jax.tree.map(partial(jnp.where, finite), new, state)
        new = new._replace(skipped=state.skipped + jnp.where(finite, 0, 1))
        metrics['skipped_updates'] = new.skipped.astype(jnp.float32)
    return new._replace(step=state.step + 1), metrics
