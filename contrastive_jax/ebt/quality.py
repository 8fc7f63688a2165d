"""What a denoiser makes of corrupted images, by how often it is evaluated.

Axes: b images, s numbers of evaluations, h w pixels, c channels.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float
from scipy.stats import rankdata

from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.sampling import representative
from contrastive_jax.ebt.denoisers import Diffusion, FeedForward
from contrastive_jax.ebt.noise import CORRUPTIONS, corrupt, signal_and_noise, to_signed
from contrastive_jax.ebt.thinking import think
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.runtime import progress

__all__ = ['EVALUATIONS', 'denoising_quality', 'psnr']

# How often a network is asked; 0 is the corrupted image as it came, or the first guess.
EVALUATIONS = (0, 1, 2, 3, 4, 6, 8, 12, 16)
# First guesses, of which some number is compared.
_GUESSES = (2, 5, 10)
_BATCH = 256
_MOST_IMAGES = 1000
_SEED = 0


def psnr(found: Float[np.ndarray, '*b h w c'], clean: Float[np.ndarray, '*b h w c']) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], cut to that range.

        10 log10(4 / mean (found - clean)^2)

    The mean is over all images: it is not that of their ratios.
    """
    errors = np.square(np.clip(found, -1, 1) - clean)
    return float(10 * np.log10(4 / max(np.mean(errors), 1e-12)))


def denoising_quality(
    graphdef: nnx.GraphDef,
    params,
    stats,
    images: np.ndarray,
    options,
    seed: int,
    labels: np.ndarray | None = None,
) -> dict:
    """PSNR after each number of `EVALUATIONS`, for each corruption.

    A feed-forward network is applied to its own output again. An energy is descended in as many
    steps, which need a gradient each: about three passes of the network. Diffusion takes
    deterministic steps (DDIM) from the level that it is told: the one trained at, or, in rows named
    so, the true one.

    Args:
      graphdef: static description of the denoiser.
      params: its parameters.
      stats: its batch statistics; it has none.
      images: `[n, h, w, c]` uint8; of more than 1,000 a random sample is taken.
      options: the section `denoise` of a config.
      seed: of the guesses; the sample and the corruptions are always the same.
      labels: `[n]` classes, of which the sample has its share each; or None.

    Returns:
      `evaluations`; `psnr` by corruption, a number for each of them; `flops`, for an image and an
      evaluation, as the compiler counts them; of a conditioned energy also `guesses`.
    """
    clean = to_signed(images[representative(len(images), _MOST_IMAGES, labels)])
    guess_key = device_key(KeyUse.DENOISING_GUESS, seed)
    model = nnx.merge(graphdef, params, stats)

    # The parameters are arguments: as constants they would be compiled in.
    @partial(jax.jit, static_argnames='level')
    def run(params, noisy, key, level):
        return _states(nnx.merge(graphdef, params, stats), noisy, key, level)

    found = {}
    for kind in progress.track(CORRUPTIONS, 'denoise', unit='corruption'):
        noisy = corrupt(clean, kind, _SEED)
        levels = {kind: options.level}
        if isinstance(model, Diffusion) and kind.startswith('gaussian'):
            levels[f'{kind}, told'] = int(kind.split()[1])
        for name, level in levels.items():
            states = _over_batches(
                lambda x, key, level=level: run(params, x, key, level), noisy, guess_key
            )
            found[name] = [psnr(state, clean) for state in states]
    result = {
        'evaluations': list(EVALUATIONS),
        'psnr': found,
        'flops': _flops(graphdef, params, stats, clean[:_BATCH]),
    }
    if getattr(model, 'conditioned', False):
        guesses_key = device_key(KeyUse.DENOISING_GUESSES, seed)
        result['guesses'] = _guesses(graphdef, params, stats, clean, options, guesses_key)
    return result


def _over_batches(function: Callable, noisy: np.ndarray, key) -> np.ndarray:
    """Applies a function of `[b, ...]` and a key to `[s, b, ...]` to all images, `[s, n, ...]`."""
    batches = padded_batches(noisy, min(_BATCH, len(noisy)))
    parts = [
        np.asarray(function(part, jax.random.fold_in(key, number)))[:, :real]
        for number, (part, real) in enumerate(batches)
    ]
    return np.concatenate(parts, axis=1)


def _states(model, noisy: Float[Array, 'b h w c'], key, level: int) -> Float[Array, 's b h w c']:
    """What the network has made of the images after each number of evaluations."""
    places = jnp.asarray(EVALUATIONS)
    if isinstance(model, Diffusion):
        return _ddim(model, noisy, level)
    if isinstance(model, FeedForward):

        def again(state, _):
            after = model(state)
            return after, after

        _, states = lax.scan(again, noisy, length=max(EVALUATIONS))
        return jnp.concatenate([noisy[None], states])[places]
    guess = jax.random.normal(key, noisy.shape) if model.conditioned else noisy
    return _think(model, noisy, guess, max(EVALUATIONS)).trajectory[places]


def _think(model, noisy, guess, steps: int):
    return think(
        lambda candidate: model.energy(candidate, noisy),
        guess,
        steps=steps,
        step_size=model.step_size(noisy)[0],
    )


def _ddim(model: Diffusion, noisy, level: int) -> Float[Array, 's b h w c']:
    """Deterministic denoising, evenly from a level to none, in each number of evaluations.

    Source: Song et al. 2021.
    """
    counts, most = jnp.asarray(EVALUATIONS, jnp.int32), max(EVALUATIONS)
    # What a step needs, for each number of them in turn: one program for all.
    plans = np.stack([np.resize(_levels(level, count), most) for count in EVALUATIONS])
    signals, noises = map(jnp.asarray, signal_and_noise())

    def denoise(plan):
        count, levels = plan

        def step(place, image):
            here, last = levels[place], place + 1 == count
            eps = model(image, jnp.full(len(image), here, jnp.int32))
            clean = (image - noises[here] * eps) / signals[here]
            there = levels[jnp.minimum(place + 1, most - 1)]
            return jnp.where(last, clean, signals[there] * clean + noises[there] * eps)

        return lax.fori_loop(0, count, step, noisy)

    return lax.map(denoise, (counts, jnp.asarray(plans)))


def _levels(level: int, count: int) -> np.ndarray:
    """Levels that so many evaluations are made at, the highest first."""
    return np.round(np.linspace(level, 0, count + 1)).astype(np.int32)[: max(count, 1)]


def _flops(graphdef, params, stats, images: np.ndarray) -> float | None:
    """Of one evaluation of one image; None where the compiler does not tell."""

    def once(params, images):
        model = nnx.merge(graphdef, params, stats)
        if isinstance(model, Diffusion):
            return model(images, jnp.zeros(len(images), jnp.int32))
        if isinstance(model, FeedForward):
            return model(images)
        return jax.grad(lambda candidate: jnp.sum(model.energy(candidate, images)))(images)

    costs = jax.jit(once).lower(params, images).compile().cost_analysis() or {}
    return costs['flops'] / len(images) if 'flops' in costs else None


def _guesses(graphdef, params, stats, clean, options, key) -> dict:
    """Of several first guesses: the one of the lowest energy, their mean, the best, and any."""

    @jax.jit
    def run(params, noisy, key):
        model = nnx.merge(graphdef, params, stats)
        guess = jax.random.normal(key, noisy.shape)
        thought = _think(model, noisy, guess, options.steps)
        return thought.trajectory[-1], thought.energies[-1]

    return {
        kind: _compare(partial(run, params), corrupt(clean, kind, _SEED), clean, key)
        for kind in (f'gaussian {options.level}', 'gaussian 199')
        if kind in CORRUPTIONS
    }


def _compare(run: Callable, noisy, clean, key) -> dict:
    parts = [noisy[start : start + _BATCH] for start in range(0, len(noisy), _BATCH)]
    tries = [
        [run(part, guess_key) for guess_key in jax.random.split(part_key, max(_GUESSES))]
        for part, part_key in zip(parts, jax.random.split(key, len(parts)), strict=True)
    ]
    images = np.concatenate([np.stack([np.asarray(x) for x, _ in part]) for part in tries], axis=1)
    energies = np.concatenate([np.stack([np.asarray(e) for _, e in part]) for part in tries], 1)
    errors = np.mean(np.square(np.clip(images, -1, 1) - clean), axis=(2, 3, 4))
    everyone = np.arange(len(clean))
    result = {'any': psnr(images[0], clean)}
    for count in _GUESSES:
        lowest, best = energies[:count].argmin(0), errors[:count].argmin(0)
        result |= {
            f'lowest energy of {count}': psnr(images[lowest, everyone], clean),
            f'mean of {count}': psnr(images[:count].mean(0), clean),
            f'best of {count}': psnr(images[best, everyone], clean),
        }
    by_energy, by_error = (
        ranks - ranks.mean(0) for ranks in (rankdata(energies, axis=0), rankdata(errors, axis=0))
    )
    spread = np.sqrt(np.sum(by_energy**2, 0) * np.sum(by_error**2, 0))
    # Of energies that are all alike it is 0.
    result['rank_correlation'] = float(
        np.mean(np.sum(by_energy * by_error, 0) / np.where(spread, spread, 1))
    )
    return result
