"""Builds the optimiser and its learning-rate schedule from a config and the length of the run.

`docs/optimizers.md` compares the two forms of LARS in three settings, and names their sources.

Axes: u updates of a run.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from ml_collections import ConfigDict

__all__ = [
    'clip_by_trust_ratio',
    'count_steps',
    'learning_rates',
    'make_optimizer',
    'make_schedule',
    'with_equal_updates',
]

# Batch size for which the learning rate of a config is meant.
_REFERENCE_BATCH = 256


def count_steps(config: ConfigDict, steps_per_epoch: int) -> int:
    """Number of steps in a run: `config.steps` or, if that is 0, the steps of `config.epochs`."""
    return config.steps or config.epochs * steps_per_epoch


def with_equal_updates(config: ConfigDict, images: int) -> ConfigDict:
    """The config whose `steps` are those of `epochs` of all images, if `equal_updates` says so.

    Args:
      config: the whole config.
      images: number of images before some were removed or dropped, `Construction.available`.

    Returns:
      `config` itself, or a copy of it, with its references resolved, that has other `steps`.
    """
    if not config.equal_updates:
        return config
    config = config.copy_and_resolve_references()
    config.steps = config.epochs * (images // config.batch_size)
    return config


def make_schedule(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate of each step: linear warm-up, then a cosine decay to 0.

    The warm-up goes from 0 to `learning_rate * batch_size / 256` and takes the share
    `warmup_epochs / epochs` of the steps. So runs with equally many steps have the same schedule,
    whatever the number of their images.

    Args:
      config: the whole config.
      steps_per_epoch: steps in one pass over the images.

    Returns:
      A function from the number of finished steps to the learning rate, a scalar from 0 to
      `learning_rate * batch_size / 256`.
    """
    peak = config.optimizer.learning_rate * config.batch_size / _REFERENCE_BATCH
    steps = count_steps(config, steps_per_epoch)
    warmup = round(config.optimizer.warmup_epochs * (steps / config.epochs))
    return optax.warmup_cosine_decay_schedule(
        0.0,
        peak,
        # In a short run, rounding may give all steps to the warm-up, and the cosine needs one.
        warmup_steps=min(warmup, steps - 1),
        decay_steps=steps,
    )


def learning_rates(schedule: optax.Schedule, updates: int) -> Float[np.ndarray, ' u']:
    """The learning rate of each update, `[u]`, on the host.

    To ask the device for the rate of one step would wait for all steps before it.
    """
    with jax.numpy_dtype_promotion('standard'):
        return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(updates)))


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimiser that `config.optimizer` names.

    Biases and parameters of normalisation are vectors. They get no weight decay and, with either
    form of LARS, no trust ratio.

    Args:
      config: the whole config.
      schedule: learning rate of each step, as `make_schedule` returns it.

    Returns:
      A transformation from gradients to the updates that are added to the parameters. Its `update`
      also needs the parameters.
    """
    options = config.optimizer

    def matrices(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    if options.name == 'lars':
        return optax.lars(
            schedule,
            weight_decay=options.weight_decay,
            weight_decay_mask=matrices,
            trust_coefficient=options.trust_coefficient,
            trust_ratio_mask=matrices,
            momentum=options.momentum,
        )
    if options.name == 'lars_clipped':
        clipped = clip_by_trust_ratio(
            schedule,
            weight_decay=options.weight_decay,
            trust_coefficient=options.trust_coefficient,
        )
        return optax.chain(
            optax.masked(clipped, matrices),
            optax.trace(options.momentum),
            optax.scale_by_learning_rate(schedule),
        )
    if options.name == 'adamw':
        return optax.adamw(schedule, weight_decay=options.weight_decay, mask=matrices)
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=matrices),
        optax.sgd(schedule, momentum=options.momentum),
    )


def clip_by_trust_ratio(
    schedule: optax.Schedule, *, weight_decay: float, trust_coefficient: float
) -> optax.GradientTransformation:
    """Adds weight decay and shortens updates, so that LARS can only lower the learning rate.

    With `w` a parameter, `g` its gradient, `lambda` the decay, `c` the trust coefficient and `t`
    the learning rate of the step,

        r = c |w| / (|g| + lambda |w|),  g' = min(r / t, 1) (g + lambda w)

    A step of `-t g'` is then `-min(r, t) (g + lambda w)`. It is the step of SGD, shortened where
    necessary to a length of `c |w|`. If `g` or `w` has length zero, `g` stays as it is.

    Args:
      schedule: learning rate `t` of each step.
      weight_decay: weight decay `lambda`.
      trust_coefficient: trust coefficient `c`.

    Returns:
      A transformation from gradients to `g'`, which are not multiplied by the learning rate yet.
      Its `update` also needs the parameters, and its state counts the steps.

    Source: solo-learn's LARS with `clip_lr`; You et al. 2017 for the ratio.
    """

    def clipped(gradient, parameter, rate):
        weight, slope = jnp.linalg.norm(parameter), jnp.linalg.norm(gradient)
        unchanged = (weight == 0) | (slope == 0)
        ratio = trust_coefficient * weight / jnp.where(unchanged, 1, slope + weight_decay * weight)
        # This is min(ratio / rate, 1), and it is defined for a rate of zero too.
        factor = ratio / jnp.maximum(rate, jnp.where(unchanged, 1, ratio))
        return jnp.where(unchanged, gradient, factor * (gradient + weight_decay * parameter))

    def update(updates, state, params):
        rate = schedule(state.count)
        updates = jax.tree.map(lambda g, w: clipped(g, w, rate), updates, params)
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(
        lambda params: optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), update
    )
