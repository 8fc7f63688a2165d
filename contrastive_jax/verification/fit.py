"""Trains a verifier on the pairs that cosine finds difficult; no labels.

Axes: b anchors of a step, m partners of each (the positive first), h w pixels, c channels.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.objectives import (
    think,
    thinking_loss,
    thinking_start,
    verification_loss,
)
from contrastive_jax.training.augment import augment
from contrastive_jax.verification.encoding import Encoder, encode
from contrastive_jax.verification.models import Encoded, Verifier, make_verifier
from contrastive_jax.verification.pairs import Pairs

__all__ = ['Fitted', 'Options', 'draw', 'fit']

_BATCH, _HARD, _RANDOM = 16, 4, 2
# Of thinking in training, drawn for each step; S2 of the reference code.
_STEPS = (2, 3)
_MOST_KEPT = 0.9
_LEARNING_RATE, _WEIGHT_DECAY, _WARMUP = 1e-3, 1e-4, 0.1
# Steps after which their numbers are looked at.
_LOOK = 50


class Options(NamedTuple):
    """How a verifier is trained.

    Attributes:
      network: of `models.NETWORKS`.
      thinking: whether L_opt is part of the loss.
      steps: of the optimiser.
      seed: of parameters, batches and augmentations.
      temperature: tau.
    """

    network: str
    thinking: bool
    steps: int
    seed: int
    temperature: float


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


class Draw(NamedTuple):
    """The images of a step.

    Attributes:
      anchors: `[b]`.
      negatives: `[b, m - 1]`, those of the band first.
    """

    anchors: Int[np.ndarray, ' b']
    negatives: Int[np.ndarray, 'b s']


def draw(rng: np.random.Generator, pairs: Pairs, n: int) -> Draw:
    """Anchors, some negatives out of the band of each, and some out of all other images."""
    size = min(_BATCH, n)
    anchors = rng.choice(len(pairs.anchors), size, replace=False)
    hard = min(_HARD, pairs.partners.shape[1])
    order = rng.permuted(np.tile(np.arange(pairs.partners.shape[1]), (size, 1)), axis=1)
    found = np.take_along_axis(pairs.partners[anchors], order[:, :hard], axis=1)
    anchors = pairs.anchors[anchors]
    others = rng.integers(n - 1, size=(size, _RANDOM))
    others += others >= anchors[:, None]
    return Draw(anchors, np.concatenate([found, others], axis=1))


def fit(
    encoder: Encoder,
    images: np.ndarray | StoredImages,
    pairs: Pairs,
    augmentation,
    options: Options,
) -> Fitted:
    """Trains a verifier by `objectives.verification_loss`.

    Every image of a pair is augmented anew. A positive is another augmentation of the anchor; were
    it the only augmented one of its partners, that would give it away.

    Args:
      encoder: the frozen one.
      images: uint8 `[n, h, w, c]`.
      pairs: of the band; hard negatives are drawn from them.
      augmentation: the section `augment` of a config.
      options: how.

    Raises:
      UserError: loss or gradient are not finite, named with step and inner step.
    """
    key = jax.random.key(options.seed)
    one = jax.eval_shape(encode, encoder, jnp.zeros((1, *images.shape[1:])))
    graphdef, params = make_verifier(options.network, key, one, options.temperature)
    hard = min(_HARD, pairs.partners.shape[1])
    inclusion = [1, *[hard / pairs.of] * hard, *[_RANDOM / (len(images) - 1)] * _RANDOM]
    optimizer, augmentation = _optimizer(options.steps), FrozenConfigDict(augmentation)
    step = _make_step(graphdef, optimizer, np.log(np.float32(inclusion)), options.thinking)
    state, rng = (params, optimizer.init(params)), np.random.default_rng([options.seed, 2])
    unseen, kept, clipped = [], [], 0
    name = f'{options.network}{"" if options.thinking else ", no thinking"}'
    for number in tqdm(range(options.steps), name, disable=None, leave=False):
        drawn = draw(rng, pairs, len(images))
        batch = _pictures(images, drawn)
        view_key, think_key = jax.random.split(jax.random.fold_in(key, number))
        encoded, mixing = _views(view_key, encoder, batch, augmentation)
        state, metrics = step(state, encoded, mixing, think_key)
        unseen.append(metrics)
        if len(unseen) == _LOOK or number + 1 == options.steps:
            seen = _checked(unseen, number + 1)
            clipped += sum(int(metrics['clipped']) for metrics in seen)
            kept, unseen = kept + seen, []
    kept = kept[-max(1, options.steps // 10) :]
    losses = {name: float(np.mean([metrics[name] for metrics in kept])) for name in kept[0]}
    return Fitted(graphdef, state[0], losses, clipped)


def _pictures(images, drawn: Draw) -> UInt8[np.ndarray, 'b m h w c']:
    """Anchors and negatives, `[b, m, h, w, c]`."""
    rows = np.concatenate([drawn.anchors[:, None], drawn.negatives], axis=1)
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


def _make_step(graphdef, optimizer, log_inclusion, thinking: bool):
    @partial(jax.jit, donate_argnums=0)
    def step(state, encoded, mixing, key):
        params, opt_state = state

        def loss_function(params):
            model = nnx.merge(graphdef, params)
            return _loss(model, encoded, mixing, key, jnp.asarray(log_inclusion), thinking)

        (loss, metrics), grads = jax.value_and_grad(loss_function, has_aux=True)(params)
        with jax.numpy_dtype_promotion('standard'):  # Optax takes powers of floats to integers
            updates, opt_state = optimizer.update(grads, opt_state, params)
        metrics |= {'loss': loss, 'gradient_norm': optax.tree.norm(grads)}
        return (optax.apply_updates(params, updates), opt_state), metrics

    return step


def _loss(model: Verifier, encoded: Encoded, mixing, key, log_inclusion, thinking: bool):
    b, m = encoded.unit.shape[0], encoded.unit.shape[1] - 2
    first = jax.tree.map(lambda x: jnp.repeat(x[:, 0], m + 1, axis=0), encoded)
    second = jax.tree.map(lambda x: x[:, 1:].reshape(-1, *x.shape[2:]), encoded)
    residuals = model.residual(first, second).reshape(b, m + 1)
    energies = model.cosine_energy(first, second).reshape(b, m + 1) + residuals
    thought = {'thinking': jnp.float32(0)}
    metrics = {'clipped': jnp.float32(0), 'nonfinite_inner_step': jnp.float32(-1)}
    if thinking:
        sides = [jax.tree.map(lambda x, place=place: x[:, place], encoded) for place in range(3)]
        thought['thinking'], metrics = _think(model, *sides, key)
    loss, terms = verification_loss(
        energies[:, :m],
        residuals[:, :m],
        energies[:, m],
        log_inclusion=log_inclusion,
        mixing=mixing,
        offset=model.offset[...],
        **thought,
    )
    return loss, metrics | terms


# Apart from the step, for the encoder is frozen: compiled once for all verifiers.
@partial(jax.jit, static_argnames='augmentation')
def _views(
    key: Key[Array, ''],
    encoder: Encoder,
    images: UInt8[Array, 'b m h w c'],
    augmentation: FrozenConfigDict,
) -> tuple[Encoded, Float[Array, ' b']]:
    """Encodes one augmentation of each image, a second one of the anchors, and a mixture.

    Returns:
      `[b, m + 2, ...]`: the anchor, its positive, the negatives, and the positive mixed with the
      first negative in pixels; and the share of the positive in that, `[b]`.
    """
    view_key, mix_key = jax.random.split(key)
    pictures = images.astype(jnp.float32) / 255
    pictures = jnp.concatenate([pictures[:, :1], pictures], axis=1)
    b, m = pictures.shape[:2]
    keys = jax.random.split(view_key, b * m)
    flat = pictures.reshape(b * m, *pictures.shape[2:])
    views = jax.vmap(lambda key, image: augment(key, image, augmentation))(keys, flat)
    views = views.reshape(pictures.shape)
    mixing = jax.random.uniform(mix_key, (b,))
    share = mixing[:, None, None, None]
    mixed = share * views[:, 1] + (1 - share) * views[:, 2]
    everyone = jnp.concatenate([views, mixed[:, None]], axis=1)
    encoded = encode(encoder, everyone.reshape(-1, *everyone.shape[2:]))
    return jax.tree.map(lambda x: x.reshape(b, m + 1, *x.shape[1:]), encoded), mixing


def _think(model: Verifier, anchor: Encoded, positive: Encoded, negative: Encoded, key):
    """L_opt: from tokens that are partly those of a negative, or noise, back to the positive's."""
    b, t = positive.tokens.shape[:2]
    noise_key, kind_key, share_key, size_key, steps_key = jax.random.split(key, 5)
    noise = jax.random.normal(noise_key, positive.tokens.shape)
    is_noise = jax.random.bernoulli(kind_key, 0.5, (b, 1, 1))
    start = thinking_start(
        positive.tokens,
        jnp.where(is_noise, noise, negative.tokens),
        jax.random.uniform(share_key, (b,), maxval=_MOST_KEPT),
    )
    size, clipped = model.network.step_size(t)
    thought = think(
        lambda tokens: model.residual(anchor, positive._replace(tokens=tokens)),
        start,
        steps=max(_STEPS),
        step_size=size * jax.random.uniform(size_key, (b,), minval=0.5, maxval=2.0),
        detach=True,
    )
    last = jax.random.randint(steps_key, (), min(_STEPS), max(_STEPS) + 1)
    target = jax.lax.stop_gradient(positive.tokens)
    loss, metrics = thinking_loss(thought.trajectory, target, last=last)
    return loss, metrics | {
        'step_size': size,
        'clipped': clipped,
        'nonfinite_inner_step': thought.nonfinite.astype(jnp.float32),
    }


def _checked(unseen: list[dict], last: int) -> list[dict]:
    """The numbers of the steps up to `last`.

    Raises:
      UserError: one of them is not finite.
    """
    seen = [
        {name: float(value) for name, value in metrics.items()}
        for metrics in jax.device_get(unseen)
    ]
    for step, metrics in enumerate(seen, last - len(seen) + 1):
        inner = int(metrics['nonfinite_inner_step'])
        finite = math.isfinite(metrics['loss']) and math.isfinite(metrics['gradient_norm'])
        if inner >= 0 or not finite:
            where = f', inner step {inner} of thinking the first' if inner >= 0 else ''
            raise UserError(
                f'--steps: step {step}: loss={metrics["loss"]}, '
                f'gradient_norm={metrics["gradient_norm"]}{where}: not finite; nothing is written. '
                'Try another --seed or fewer --steps, and look at the features of the run'
            )
    return seen
