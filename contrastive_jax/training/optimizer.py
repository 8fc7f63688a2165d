"""Optimisers and their schedule, from a config and the length of the run."""

import jax
import optax

__all__ = ['count_steps', 'make_optimizer', 'make_schedule']

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

    Biases and normalisation parameters, which are vectors, get neither weight decay nor, with LARS,
    a trust ratio.
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
    if options.name == 'adamw':
        return optax.adamw(schedule, weight_decay=options.weight_decay, mask=matrices)
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=matrices),
        optax.sgd(schedule, momentum=options.momentum),
    )
