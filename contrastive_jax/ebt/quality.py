"""Measures how well a denoiser restores corrupted images, by its number of evaluations.

Axes: b images, s numbers of evaluations, h w pixels, c channels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from scipy.stats import rankdata

from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.sampling import representative
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.ebt.denoisers import Denoiser, Diffusion, EnergyDenoiser, FeedForward
from contrastive_jax.ebt.noise import CORRUPTIONS, corrupt, signal_and_noise, to_signed
from contrastive_jax.ebt.section import diffusion_levels
from contrastive_jax.ebt.thinking import Thought, think
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.runtime import progress

__all__ = ['EVALUATIONS', 'denoising_quality', 'psnr']

# A function of noisy images `[b, h, w, c]` and a key, which returns `[s, b, h, w, c]`.
Denoise = Callable[[np.ndarray, Array], Array]
# A function of noisy images and a key, which returns denoised images and their energies.
Guess = Callable[[np.ndarray, Array], tuple[Array, Array]]

# Numbers of evaluations of a network; 0 gives the corrupted image or the first guess.
EVALUATIONS = (0, 1, 2, 3, 4, 6, 8, 12, 16)
# Numbers of first guesses that are compared.
_GUESSES = (2, 5, 10)
_BATCH = 256
_MOST_IMAGES = 1000
_SEED = 0


def psnr(denoised: Float[np.ndarray, '*b h w c'], clean: Float[np.ndarray, '*b h w c']) -> float:
    """Peak signal-to-noise ratio in dB of images that are clipped to [-1, 1].

        10 log10(4 / mean (denoised - clean)^2)

    The mean of the squared errors is over all images. It is not the mean of the images' ratios.
    """
    errors = np.square(np.clip(denoised, -1, 1) - clean)
    return float(10 * np.log10(4 / max(np.mean(errors), 1e-12)))


def denoising_quality(
    graphdef: nnx.GraphDef,
    params: Any,
    stats: Any,
    images: np.ndarray | StoredImages,
    options: ConfigDict,
    seed: int,
    labels: np.ndarray | None = None,
) -> dict:
    """Measures the PSNR after each number of `EVALUATIONS`, for each corruption.

    The corruptions are all `CORRUPTIONS` and the Gaussian noise of training.

    A feed-forward network is applied again to its own output. Thinking descends an energy; each
    step needs a gradient, which costs about two passes of the network. Diffusion takes
    deterministic steps (DDIM) from a given level. This is the level of training or, in rows whose
    name ends in `told`, another level that it was trained on, which is the true one.

    Args:
      graphdef: static description of the denoiser.
      params: its parameters.
      stats: its batch statistics, which are empty.
      images: `[n, h, w, c]` uint8; more than 1,000 images are reduced to a random sample.
      options: the section `denoise` of a config.
      seed: seed of the first guesses. The sample and the corruptions are the same for every seed.
      labels: `[n]` classes, which the sample holds in proportion; or None.

    Returns:
      A dict: `evaluations`; `psnr`, one number per number of evaluations, by corruption; `flops` of
      one evaluation of one image as the compiler counts them; and for a conditioned energy
      `guesses`.
    """
    clean = to_signed(images[representative(len(images), _MOST_IMAGES, labels)])
    guess_key = device_key(KeyUse.DENOISING_GUESS, seed)
    model = nnx.merge(graphdef, params, stats)

    # The parameters are arguments, because constants would become part of the program.
    @partial(jax.jit, static_argnames='level')
    def run(params, noisy, key, level):
        return _states(nnx.merge(graphdef, params, stats), noisy, key, level)

    ratios = {}
    for kind in progress.track(_kinds(options.level), 'denoise', unit='corruption'):
        noisy = corrupt(clean, kind, _SEED)
        levels = {kind: options.level}
        if isinstance(model, Diffusion):
            levels |= _at_true_level(kind, options.level)
        for name, level in levels.items():
            states = _over_batches(partial(run, params, level=level), noisy, guess_key)
            ratios[name] = [psnr(state, clean) for state in states]
    result = {
        'evaluations': list(EVALUATIONS),
        'psnr': ratios,
        'flops': _flops(graphdef, params, stats, clean[:_BATCH]),
    }
    if getattr(model, 'conditioned', False):
        guesses_key = device_key(KeyUse.DENOISING_GUESSES, seed)
        result['guesses'] = _guesses(graphdef, params, stats, clean, options, guesses_key)
    return result


def _kinds(level: int) -> list[str]:
    """The corruptions that are measured: all, and the noise of training."""
    return list(dict.fromkeys((*CORRUPTIONS, f'gaussian {level}')))


def _at_true_level(kind: str, level: int) -> dict[str, int]:
    """Name and level of the row in which diffusion starts from the true level of Gaussian noise.

    There is none at the level of training, which it starts from anyway, and none at levels that it
    was not trained on.
    """
    if not kind.startswith('gaussian '):
        return {}
    true = int(kind.removeprefix('gaussian '))
    has_row = true != level and true < diffusion_levels(level)
    return {f'{kind}, told': true} if has_row else {}


def _over_batches(function: Denoise, noisy: np.ndarray, key: Array) -> np.ndarray:
    """Applies a function to all images, a batch at a time; returns `[s, n, h, w, c]`."""
    batches = padded_batches(noisy, min(_BATCH, len(noisy)))
    parts = [
        np.asarray(function(part, jax.random.fold_in(key, number)))[:, :real]
        for number, (part, real) in enumerate(batches)
    ]
    return np.concatenate(parts, axis=1)


def _states(
    model: Denoiser, noisy: Float[Array, 'b h w c'], key: Array, level: int
) -> Float[Array, 's b h w c']:
    """The images after each number of evaluations."""
    counts = jnp.asarray(EVALUATIONS)
    if isinstance(model, Diffusion):
        return _ddim(model, noisy, level)
    if isinstance(model, FeedForward):

        def again(state, _):
            denoised = model(state)
            return denoised, denoised

        _, states = lax.scan(again, noisy, length=max(EVALUATIONS))
        return jnp.concatenate([noisy[None], states])[counts]
    guess = jax.random.normal(key, noisy.shape) if model.conditioned else noisy
    return _think(model, noisy, guess, max(EVALUATIONS)).trajectory[counts]


def _think(
    model: EnergyDenoiser,
    noisy: Float[Array, 'b h w c'],
    guess: Float[Array, 'b h w c'],
    steps: int,
) -> Thought:
    return think(
        lambda candidate: model.energy(candidate, noisy),
        guess,
        steps=steps,
        step_size=model.step_size(noisy)[0],
    )


def _ddim(
    model: Diffusion, noisy: Float[Array, 'b h w c'], level: int
) -> Float[Array, 's b h w c']:
    """Deterministic denoising in evenly spaced levels, once for each number of evaluations.

    Source: Song et al. 2021.
    """
    counts, largest = jnp.asarray(EVALUATIONS, jnp.int32), max(EVALUATIONS)
    # All plans have the same length, so that one program serves all of them.
    plans = np.stack([np.resize(_levels(level, count), largest) for count in EVALUATIONS])
    signals, noises = map(jnp.asarray, signal_and_noise())

    def denoise(plan):
        count, levels = plan

        def step(index, image):
            current, last = levels[index], index + 1 == count
            eps = model(image, jnp.full(len(image), current, jnp.int32))
            clean = (image - noises[current] * eps) / signals[current]
            lower = levels[jnp.minimum(index + 1, largest - 1)]
            return jnp.where(last, clean, signals[lower] * clean + noises[lower] * eps)

        return lax.fori_loop(0, count, step, noisy)

    return lax.map(denoise, (counts, jnp.asarray(plans)))


def _levels(level: int, count: int) -> np.ndarray:
    """The levels of `count` evaluations, from the highest down."""
    return np.round(np.linspace(level, 0, count + 1)).astype(np.int32)[: max(count, 1)]


def _flops(graphdef: nnx.GraphDef, params: Any, stats: Any, images: np.ndarray) -> float | None:
    """FLOPs of one evaluation of one image; None if the compiler does not count them."""

    def once(params, images):
        model = nnx.merge(graphdef, params, stats)
        if isinstance(model, Diffusion):
            return model(images, jnp.zeros(len(images), jnp.int32))
        if isinstance(model, FeedForward):
            return model(images)
        return jax.grad(lambda candidate: jnp.sum(model.energy(candidate, images)))(images)

    costs = jax.jit(once).lower(params, images).compile().cost_analysis() or {}
    return costs['flops'] / len(images) if 'flops' in costs else None


def _guesses(
    graphdef: nnx.GraphDef,
    params: Any,
    stats: Any,
    clean: np.ndarray,
    options: ConfigDict,
    key: Array,
) -> dict:
    """PSNR of one of several first guesses: any, the lowest energy, the best; and of their mean."""

    @jax.jit
    def run(params, noisy, key):
        model = nnx.merge(graphdef, params, stats)
        guess = jax.random.normal(key, noisy.shape)
        thought = _think(model, noisy, guess, options.steps)
        return thought.trajectory[-1], thought.energies[-1]

    return {
        kind: _compare(partial(run, params), corrupt(clean, kind, _SEED), clean, key)
        for kind in dict.fromkeys((f'gaussian {options.level}', 'gaussian 199'))
    }


def _compare(run: Guess, noisy: np.ndarray, clean: np.ndarray, key: Array) -> dict:
    """Compares ways to choose among first guesses, for one corruption."""
    parts = [noisy[start : start + _BATCH] for start in range(0, len(noisy), _BATCH)]
    tries = [
        [run(part, guess_key) for guess_key in jax.random.split(part_key, max(_GUESSES))]
        for part, part_key in zip(parts, jax.random.split(key, len(parts)), strict=True)
    ]
    images = np.concatenate([np.stack([np.asarray(x) for x, _ in part]) for part in tries], axis=1)
    energies = np.concatenate([np.stack([np.asarray(e) for _, e in part]) for part in tries], 1)
    errors = np.mean(np.square(np.clip(images, -1, 1) - clean), axis=(2, 3, 4))
    all_images = np.arange(len(clean))
    result = {'any': psnr(images[0], clean)}
    for count in _GUESSES:
        lowest, best = energies[:count].argmin(0), errors[:count].argmin(0)
        result |= {
            f'lowest energy of {count}': psnr(images[lowest, all_images], clean),
            f'mean of {count}': psnr(images[:count].mean(0), clean),
            f'best of {count}': psnr(images[best, all_images], clean),
        }
    by_energy, by_error = (
        ranks - ranks.mean(0) for ranks in (rankdata(energies, axis=0), rankdata(errors, axis=0))
    )
    spread = np.sqrt(np.sum(by_energy**2, 0) * np.sum(by_error**2, 0))
    # Equal energies have no ranks; their correlation counts as 0.
    result['rank_correlation'] = float(
        np.mean(np.sum(by_energy * by_error, 0) / np.where(spread, spread, 1))
    )
    return result
