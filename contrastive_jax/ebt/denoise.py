"""The task of a denoiser: noise on the images of a batch, and what the network made of it.

Axes: b images of this device, h w pixels, c channels.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Key

from contrastive_jax.data.batches import Batch
from contrastive_jax.data.sources import Dataset
from contrastive_jax.ebt.denoisers import Diffusion, EnergyDenoiser, FeedForward, make_denoiser
from contrastive_jax.ebt.noise import signal_and_noise, to_signed
from contrastive_jax.ebt.quality import denoising_quality
from contrastive_jax.ebt.thinking import think, thinking_loss
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import KeyTag
from contrastive_jax.runtime import progress
from contrastive_jax.training.task import Outcome, StepContext, Task

__all__ = ['denoise_loss', 'make_task']

# What the key of an image is folded with.
_NOISE, _LEVEL, _GUESS, _SIZE, _LANGEVIN = range(5)
# Steps of thinking up to which what they need is kept for the backward pass.
_KEPT_STEPS = 3


def make_task(config) -> Task:
    """The task of the denoiser that `config.model.name` names.

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


def denoise_loss(model, extra, batch: Batch, context: StepContext, *, options) -> Outcome:
    """Loss of a denoiser on one batch.

    An energy is descended from the noisy image, or, conditioned, from noise, and trained by
    `thinking_loss`; a feed-forward network by the same distance. Diffusion is trained by the
    squared error of the noise, at all levels up to three times the others': those it is tested on.

    Args:
      model: a denoiser.
      extra: None.
      batch: images uint8 `[b, h, w, c]`.
      context: of the step.
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


def _evaluate(config, graphdef, state, dataset: Dataset) -> dict:
    """What the denoiser makes of test images."""
    images, labels, _ = dataset.test
    progress.say('denoising of test images')
    found = denoising_quality(
        graphdef, state.params, state.stats, images, config.denoise, config.seed, labels
    )
    return {'denoising': found}


def _summary(result: dict) -> list[str]:
    found = result['denoising']
    head = f'\n{"PSNR, dB; evaluations":24}' + ''.join(f'{n:>7}' for n in found['evaluations'])
    rows = (f'{kind:24}' + ''.join(f'{x:7.2f}' for x in row) for kind, row in found['psnr'].items())
    return [head, *rows]


def _energy(
    model: EnergyDenoiser,
    clean: Float[Array, 'b h w c'],
    noisy: Float[Array, 'b h w c'],
    draw,
    context: StepContext,
    options,
):
    guess = noisy
    if model.conditioned:
        guess = draw(_GUESS, lambda key: jax.random.normal(key, noisy.shape[1:]))
    size, clipped = model.step_size(noisy)
    spread, factor = options.step_size_spread, 1.0
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
    drop, bad = jnp.mean(thought.energies[0] - thought.energies[-1]), thought.nonfinite
    if context.axis_name is not None:
        drop, bad = lax.pmean(drop, context.axis_name), lax.pmax(bad, context.axis_name)
    metrics |= {
        'energy_drop': drop,
        'step_size': size,
        'step_size_clipped': clipped,
        'nonfinite_inner_step': bad.astype(jnp.float32),
    }
    return loss, metrics


def _diffusion(model: Diffusion, clean, eps, draw, options, axis_name):
    levels = draw(_LEVEL, lambda key: jax.random.randint(key, (), 0, 3 * (options.level + 1)))
    weights = (jnp.asarray(weight)[levels] for weight in signal_and_noise())
    signal, noise = (weight[:, None, None, None] for weight in weights)
    error = model(signal * clean + noise * eps, levels) - eps
    loss = jnp.mean(optax.losses.l2_loss(error))
    loss = loss if axis_name is None else lax.pmean(loss, axis_name)
    return loss, {}


def _draws(keys: Key[Array, ' b'], use: int, of_key):
    """What a function draws from the key of each image for one use."""
    return jax.vmap(lambda key: of_key(jax.random.fold_in(key, use)))(keys)
