"""One training step: a pure function of state and batch, the same on one device and on many.

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
from contrastive_jax.training.task import Loss, Metrics, StepContext

__all__ = ['Step', 'TrainState', 'init_state', 'train_step']


class TrainState(NamedTuple):
    """All arrays that a step changes, and the root of its random keys.

    Attributes:
      step: number of finished steps.
      params: parameters of the model.
      stats: batch statistics of the model.
      opt_state: state of the optimiser.
      key: random key of the run, which never changes.
      skipped: number of updates that were skipped because the loss or the gradient was not finite.
      extra: extra state of the task, such as a queue, or None.
    """

    step: Int[Array, '']
    params: Any
    stats: Any
    opt_state: Any
    key: Key[Array, '']
    skipped: Int[Array, '']
    extra: Any = None


# Maps a state and a batch to the next state and the metrics. `axis_name` is optional.
Step = Callable[..., tuple[TrainState, Metrics]]


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
      build: function from the `Context` that all layers share to the model.
      optimizer: optimiser that updates the parameters.
      model_key: random key of the initial parameters.
      run_key: random key of everything else that the run draws.
      init: function from the model and `run_key` to the extra state of the task.
      context: function from the source of the parameters to the `Context` of the layers.

    Returns:
      The static description of the model, and the first state.
    """

    def model_of(key):
        return build(context(nnx.Rngs(key)))

    def draw(model_key, run_key):
        model = model_of(model_key)
        params, stats = nnx.state(model, nnx.Param, nnx.BatchStat)
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
    # One jitted function is one program. Without it, JAX would compile one for every shape.
    return graphdef, jax.jit(draw)(model_key, run_key)


def train_step(
    state: TrainState,
    batch: Any,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    skip_nonfinite: bool = False,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Computes the gradient of a loss on one batch and updates the parameters.

    Args:
      state: state of the run, the same on every device.
      batch: argument of the loss. Most tasks take a `Batch` of this device: uint8 images
        `[b, h, w, c]`, and their labels `[b]` or None. A mapped step needs `batch.images`, of which
        it uses the length.
      graphdef: static description of the model, as `init_state` returns it.
      optimizer: optimiser that `state.opt_state` belongs to.
      loss: loss function of the task, `Task.loss`.
      skip_nonfinite: whether to skip and count updates whose loss or gradient is not finite.
      axis_name: name of the mapped axis; None on one device.

    Returns:
      The next state, and metrics that are the same on every device: `loss`, `gradient_norm` and
      the metrics of the loss; with `skip_nonfinite` also `skipped_updates`.
    """
    first = 0 if axis_name is None else lax.axis_index(axis_name) * len(batch.images)
    key = jax.random.fold_in(state.key, state.step)
    context = StepContext(key, first, axis_name, state.step)

    def loss_function(params):
        # The copy is needed because new batch statistics must not reach the outer trace.
        model = nnx.merge(graphdef, params, state.stats, copy=True)
        value, metrics, extra = loss(model, state.extra, batch, context)
        return value, (metrics, extra, nnx.state(model, nnx.BatchStat))

    gradient = jax.value_and_grad(loss_function, has_aux=True)
    (value, (metrics, extra, stats)), grads = gradient(state.params)
    if axis_name is not None:
        grads, stats = lax.pmean((grads, stats), axis_name)
    # Optax raises floats to integer powers.
    with jax.named_scope('optimiser'), jax.numpy_dtype_promotion('standard'):
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    metrics = {'loss': value, 'gradient_norm': optax.tree.norm(grads), **metrics}
    following = state._replace(params=params, stats=stats, opt_state=opt_state, extra=extra)
    if skip_nonfinite:
        finite = jnp.isfinite(value) & jnp.isfinite(metrics['gradient_norm'])
        following = jax.tree.map(partial(jnp.where, finite), following, state)
        following = following._replace(skipped=state.skipped + jnp.where(finite, 0, 1))
        metrics['skipped_updates'] = following.skipped.astype(jnp.float32)
    return following._replace(step=state.step + 1), metrics
