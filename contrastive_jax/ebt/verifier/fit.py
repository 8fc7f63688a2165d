"""Trains a verifier on the pairs that cosine finds difficult; no labels.

Axes: b anchors of a step, m partners of each (the positive first), h w pixels, c channels.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float, UInt8
from ml_collections import FrozenConfigDict

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.ebt.verifier.draw import Draw, draw
from contrastive_jax.ebt.verifier.encoding import Encoder, encode, encode_views
from contrastive_jax.ebt.verifier.loss import pair_loss
from contrastive_jax.ebt.verifier.networks import make_verifier
from contrastive_jax.ebt.verifier.pairs import Pairs, mutual_neighbours
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import KeyUse, Use, device_key, host_rng
from contrastive_jax.runtime import progress

__all__ = ['Fitted', 'Kind', 'Options', 'fit']

_LEARNING_RATE, _WEIGHT_DECAY, _WARMUP = 1e-3, 1e-4, 0.1
# Steps after which their numbers are looked at.
_LOOK = 50


class Kind(NamedTuple):
    """What a verifier is.

    Attributes:
      network: of `models.NETWORKS`.
      thinking: whether L_opt is part of its loss.
    """

    network: str
    thinking: bool


class Options(NamedTuple):
    """How verifiers are trained.

    Attributes:
      steps: of the optimiser.
      seed: of parameters, batches and augmentations.
      temperature: tau.
      neighbours: a positive is one of so many nearest, if that is mutual; 0 for the anchor itself.
    """

    steps: int
    seed: int
    temperature: float
    neighbours: int = 0


class Fitted(NamedTuple):
    """A trained verifier.

    Attributes:
      graphdef: its description.
      params: its parameters.
      losses: mean of each term over the last tenth of the steps.
      clipped: steps in which the size of a step of thinking had to be clipped.
    """

    graphdef: nnx.GraphDef
    params: nnx.State
    losses: dict[str, float]
    clipped: int


def fit(
    encoder: Encoder,
    images: np.ndarray | StoredImages,
    unit: Float[np.ndarray, 'n k'],
    pairs: Pairs,
    augmentation,
    kinds: Mapping[str, Kind],
    options: Options,
) -> dict[str, Fitted]:
    """Trains verifiers by `verification_loss`, all on the same views of the same pairs.

    Every image of a pair is augmented anew: were the positive the only augmented one of an anchor's
    partners, that would give it away.

    Args:
      encoder: the frozen one.
      images: uint8 `[n, h, w, c]`.
      unit: `[n, k]` directions of their features.
      pairs: of the band; hard negatives are drawn from them.
      augmentation: the section `augment` of a config.
      kinds: the verifiers, by name.
      options: how.

    Returns:
      The verifiers by name.

    Raises:
      UserError: loss or gradient are not finite, named with verifier, step and inner step.
    """
    model_key, step_key = (
        device_key(use, options.seed) for use in (KeyUse.VERIFIER_MODEL, KeyUse.VERIFIER_STEPS)
    )
    one = jax.eval_shape(encode, encoder, jnp.zeros((1, *images.shape[1:])))
    optimizer = _optimizer(options.steps)
    graphdefs, states, updates = {}, {}, {}
    for name, kind in kinds.items():
        graphdefs[name], params = make_verifier(kind.network, model_key, one, options.temperature)
        states[name] = params, optimizer.init(params)
        updates[name] = _make_update(graphdefs[name], kind.thinking, optimizer)
    step = _make_step(updates, augmentation)
    rng = host_rng(Use.VERIFIER_ORDER, options.seed)
    neighbours = mutual_neighbours(unit, options.neighbours) if options.neighbours else None
    unseen, kept = [], []
    for number in progress.track(range(options.steps), 'verifiers', unit='step'):
        batch = _pictures(images, draw(rng, pairs, len(images), neighbours))
        states, metrics = step(states, encoder, batch, jax.random.fold_in(step_key, number))
        unseen.append(metrics)
        if len(unseen) == _LOOK or number + 1 == options.steps:
            kept, unseen = kept + _checked(unseen, number + 1), []
    return {
        name: _fitted(graphdefs[name], states[name][0], [metrics[name] for metrics in kept])
        for name in kinds
    }


def _fitted(graphdef, params, seen: list[dict]) -> Fitted:
    last = seen[-max(1, len(seen) // 10) :]
    losses = {name: float(np.mean([metrics[name] for metrics in last])) for name in last[0]}
    return Fitted(graphdef, params, losses, sum(int(metrics['clipped']) for metrics in seen))


def _pictures(images, drawn: Draw) -> UInt8[np.ndarray, 'b s h w c']:
    """Anchors, positives and negatives, `[b, m + 1, h, w, c]`."""
    rows = np.column_stack([drawn.anchors, drawn.positives, drawn.negatives])
    return images[rows.ravel()].reshape(*rows.shape, *images.shape[1:])


def _optimizer(steps: int) -> optax.GradientTransformation:
    warmup = max(1, round(_WARMUP * steps))
    # A head that starts at zero under a large step of thinking: without warm-up it jumps.
    schedule = optax.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, warmup, max(2, steps))
    decay = optax.adamw(
        schedule,
        weight_decay=_WEIGHT_DECAY,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return optax.chain(optax.clip_by_global_norm(1.0), decay)


def _make_update(graphdef, thinking: bool, optimizer):
    """A step of one verifier."""

    def update(state, encoded, mixing, key):
        params, opt_state = state

        def loss_function(params):
            model = nnx.merge(graphdef, params)
            return pair_loss(model, encoded, mixing, key, thinking=thinking)

        (loss, metrics), grads = jax.value_and_grad(loss_function, has_aux=True)(params)
        with jax.numpy_dtype_promotion('standard'):  # Optax takes powers of floats to integers
            updates, opt_state = optimizer.update(grads, opt_state, params)
        metrics |= {'loss': loss, 'gradient_norm': optax.tree.norm(grads)}
        return (optax.apply_updates(params, updates), opt_state), metrics

    return update


def _make_step(updates, augmentation):
    """One program for all verifiers, so that images are augmented and encoded once for all."""
    augmentation = FrozenConfigDict(augmentation)

    @partial(jax.jit, donate_argnums=0)
    def step(states, encoder, images, key):
        view_key, think_key = jax.random.split(key)
        encoded, mixing = encode_views(view_key, encoder, images, augmentation)
        done = {
            name: update(states[name], encoded, mixing, think_key)
            for name, update in updates.items()
        }
        return tuple({name: pair[place] for name, pair in done.items()} for place in range(2))

    return step


def _checked(unseen: list[dict], last: int) -> list[dict]:
    """The numbers of the steps up to `last`, by verifier.

    Raises:
      UserError: one of them is not finite.
    """
    seen = jax.tree.map(float, jax.device_get(unseen))
    for step, verifiers in enumerate(seen, last - len(seen) + 1):
        for name, metrics in verifiers.items():
            inner = int(metrics['nonfinite_inner_step'])
            finite = math.isfinite(metrics['loss']) and math.isfinite(metrics['gradient_norm'])
            if inner >= 0 or not finite:
                where = f', inner step {inner} of thinking the first' if inner >= 0 else ''
                raise UserError(
                    f'--steps: {name}, step {step}: loss={metrics["loss"]}, '
                    f'gradient_norm={metrics["gradient_norm"]}{where}: not finite; nothing is '
                    'written. Try another --seed or fewer --steps, and look at the features of '
                    'the run'
                )
    return seen
