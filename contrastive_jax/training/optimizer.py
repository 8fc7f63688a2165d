"""Optimisers and their schedule, from a config and the length of the run.

What the forms of LARS do, and whose they are: docs/optimizers.md.
"""

import jax
import jax.numpy as jnp
import optax

__all__ = ['clip_by_trust_ratio', 'count_steps', 'make_optimizer', 'make_schedule']

# The learning rate of a config is meant for this many images a step.
_REFERENCE_BATCH = 256


def count_steps(config, steps_per_epoch: int) -> int:
    """Updates of a whole run: `config.steps`, or as many as `config.epochs` takes."""
    return config.steps or config.epochs * steps_per_epoch


def make_schedule(config, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up from 0 to `learning_rate * batch_size / 256`, then cosine to 0.

    The warm-up takes the share `warmup_epochs / epochs` of the steps, so that runs of equal steps
    have equal schedules, however many images they train on.

    Args:
      config: the whole config.
      steps_per_epoch: steps in one pass over the images.
    """
    peak = config.optimizer.learning_rate * config.batch_size / _REFERENCE_BATCH
    steps = count_steps(config, steps_per_epoch)
    warmup = round(config.optimizer.warmup_epochs * (steps / config.epochs))
    return optax.warmup_cosine_decay_schedule(
        0.0,
        peak,
        # A run of a few steps rounds its warm-up to all of them, and the cosine needs one.
        warmup_steps=min(warmup, steps - 1),
        decay_steps=steps,
    )


def make_optimizer(config, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimiser that `config.optimizer` names.

    Biases and normalisation parameters, which are vectors, get neither weight decay nor, with
    either form of LARS, a trust ratio.

    Args:
      config: the whole config.
      schedule: what `make_schedule` returns.
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
    """Adds weight decay, and shortens the updates so that LARS only ever lowers the learning rate.

    With `w` a parameter, `g` its gradient, `lambda` the decay, `c` the trust coefficient and `t`
    the learning rate of the step,

        r = c |w| / (|g| + lambda |w|),  g' = min(r / t, 1) (g + lambda w)

    A step of `-t g'` is then `-min(r, t) (g + lambda w)`: no longer than `c |w|`, and that of SGD
    where this is shorter. A gradient or a parameter of length zero leaves `g` as it is.

    Args:
      schedule: `t` of each step.
      weight_decay: `lambda`.
      trust_coefficient: `c`.

    Source: solo-learn's LARS with `clip_lr`; You et al. 2017 for the ratio.
    """

    def clipped(gradient, parameter, rate):
        weight, slope = jnp.linalg.norm(parameter), jnp.linalg.norm(gradient)
        still = (weight == 0) | (slope == 0)
        ratio = trust_coefficient * weight / jnp.where(still, 1, slope + weight_decay * weight)
        # min(ratio / rate, 1), for a rate of zero too.
        factor = ratio / jnp.maximum(rate, jnp.where(still, 1, ratio))
        return jnp.where(still, gradient, factor * (gradient + weight_decay * parameter))

    def update(updates, state, params):
        rate = schedule(state.count)
        updates = jax.tree.map(lambda g, w: clipped(g, w, rate), updates, params)
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(
        lambda params: optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), update
    )
