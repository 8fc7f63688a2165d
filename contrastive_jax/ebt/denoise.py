"""The task of a denoiser: it restores images to which noise was added.

Axes: b images of this device, h w pixels, c channels.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from contrastive_jax.data.batches import Batch
from contrastive_jax.data.sources import Dataset
from contrastive_jax.ebt.denoisers import (
    Denoiser,
    Diffusion,
    EnergyDenoiser,
    FeedForward,
    make_denoiser,
)
from contrastive_jax.ebt.noise import signal_and_noise, to_signed
from contrastive_jax.ebt.quality import denoising_quality
from contrastive_jax.ebt.section import diffusion_levels
from contrastive_jax.ebt.thinking import think, thinking_loss
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import KeyTag
from contrastive_jax.runtime import progress
from contrastive_jax.training.step import TrainState
from contrastive_jax.training.task import Metrics, Outcome, StepContext, Task

__all__ = ['denoise_loss', 'make_task']

# Draws random numbers for each image, for one use, with a function of the image's key.
DrawNoise = Callable[[int, Callable[[Array], Array]], Array]

# Fold-in tags of an image's key, one for each use.
_NOISE, _LEVEL, _GUESS, _SIZE, _LANGEVIN = range(5)
# With more steps of thinking than this, the backward pass computes each step again.
_KEPT_STEPS = 3


def make_task(config: ConfigDict) -> Task:
    """The task of training the denoiser that `config.model.name` names.

    Args:
      config: the whole config.
    """
    return Task(
        build=partial(make_denoiser, config),
        loss=partial(denoise_loss, options=config.denoise),
        check=partial(_check_patch, config.model.patch),
        evaluate=partial(_evaluate, config),
        summary=_summary,
        kind='denoiser',
    )


def denoise_loss(
    model: Denoiser, extra: None, batch: Batch, context: StepContext, *, options: ConfigDict
) -> Outcome:
    """Computes the loss of a denoiser on one batch.

    Thinking descends an energy from the noisy image, or from noise if the energy is conditioned;
    `thinking_loss` trains the energy. A feed-forward network has the loss of a single step of
    thinking. Diffusion is trained by the squared error of the noise. Its levels go up to three
    times the level of the others, because it is tested on stronger noise too.

    Args:
      model: denoiser.
      extra: extra state of the task; None, because this task has none.
      batch: uint8 images `[b, h, w, c]`.
      context: context of the step.
      options: the section `denoise` of a config.
    """
    clean = to_signed(batch.images)
    draw = partial(_draws, context.keys(len(clean)))
    eps = draw(_NOISE, lambda key: jax.random.normal(key, clean.shape[1:]))
    if isinstance(model, Diffusion):
        loss, metrics = _diffusion(model, clean, eps, draw, options, context.axis_name)
        return Outcome(loss, metrics)
    signal, noise = (float(weights[options.level]) for weights in signal_and_noise())
    noisy = signal * clean + noise * eps
    if isinstance(model, FeedForward):
        states = jnp.stack([noisy, model(noisy)])
        return Outcome(*thinking_loss(states, clean, axis_name=context.axis_name))
    return Outcome(*_energy(model, clean, noisy, draw, context, options))


def _check_patch(side: int, dataset: Dataset) -> None:
    height, width = dataset.train.images.shape[1:3]
    if height != width or height % side:
        raise UserError(
            f'config.model.patch={side}: images of {height} x {width} pixels cannot be cut into '
            'such squares; choose a divisor of the side, and square images'
        )


def _evaluate(
    config: ConfigDict, graphdef: nnx.GraphDef, state: TrainState, dataset: Dataset
) -> dict:
    """Measures how well the denoiser restores test images."""
    images, labels, _ = dataset.test
    progress.say('denoising of test images')
    quality = denoising_quality(
        graphdef, state.params, state.stats, images, config.denoise, config.seed, labels
    )
    return {'denoising': quality}


def _summary(result: dict) -> list[str]:
    quality = result['denoising']
    head = f'\n{"PSNR, dB; evaluations":24}' + ''.join(f'{n:>7}' for n in quality['evaluations'])
    ratios = quality['psnr'].items()
    rows = (f'{kind:24}' + ''.join(f'{x:7.2f}' for x in row) for kind, row in ratios)
    return [head, *rows]


def _energy(
    model: EnergyDenoiser,
    clean: Float[Array, 'b h w c'],
    noisy: Float[Array, 'b h w c'],
    draw: DrawNoise,
    context: StepContext,
    options: ConfigDict,
) -> tuple[Float[Array, ''], Metrics]:
    guess = noisy
    if model.conditioned:
        guess = draw(_GUESS, lambda key: jax.random.normal(key, noisy.shape[1:]))
    size, clipped = model.step_size(noisy)
    spread = options.step_size_spread
    factor: Array | float = 1.0
    if spread > 1:
        factor = draw(_SIZE, partial(jax.random.uniform, minval=1 / spread, maxval=spread))
    last = None
    if options.loss == 'last':
        key = jax.random.fold_in(context.key, KeyTag.THINKING_STEPS)
        last = jax.random.randint(key, (), options.least_steps, options.steps + 1)
    thought = think(
        lambda candidate: model.energy(candidate, noisy),
        guess,
        steps=options.steps,
        step_size=size * factor,
        noise=options.langevin,
        key=draw(_LANGEVIN, lambda key: key),
        detach=options.detach,
        last=last if options.detach else None,
        remat=options.steps > _KEPT_STEPS,
    )
    loss, metrics = thinking_loss(thought.trajectory, clean, last=last, axis_name=context.axis_name)
    drop, nonfinite = jnp.mean(thought.energies[0] - thought.energies[-1]), thought.nonfinite
    if context.axis_name is not None:
        drop = lax.pmean(drop, context.axis_name)
        # The first step of all devices; -1 says that a device has none.
        none = options.steps
        nonfinite = lax.pmin(jnp.where(nonfinite < 0, none, nonfinite), context.axis_name)
        nonfinite = jnp.where(nonfinite == none, -1, nonfinite)
    metrics |= {
        'energy_drop': drop,
        'step_size': size,
        'step_size_clipped': clipped,
        'nonfinite_inner_step': nonfinite.astype(jnp.float32),
    }
    return loss, metrics


def _diffusion(
    model: Diffusion,
    clean: Float[Array, 'b h w c'],
    eps: Float[Array, 'b h w c'],
    draw: DrawNoise,
    options: ConfigDict,
    axis_name: str | None,
) -> tuple[Float[Array, ''], Metrics]:
    count = diffusion_levels(options.level)
    levels = draw(_LEVEL, lambda key: jax.random.randint(key, (), 0, count))
    weights = (jnp.asarray(weight)[levels] for weight in signal_and_noise())
    signal, noise = (weight[:, None, None, None] for weight in weights)
    error = model(signal * clean + noise * eps, levels) - eps
    loss = jnp.mean(optax.losses.l2_loss(error))
    loss = loss if axis_name is None else lax.pmean(loss, axis_name)
    return loss, {}


def _draws(keys: Key[Array, ' b'], use: int, draw_one: Callable[[Array], Array]) -> Array:
    """Draws random numbers for each image from its key, for one use."""
    return jax.vmap(lambda key: draw_one(jax.random.fold_in(key, use)))(keys)
