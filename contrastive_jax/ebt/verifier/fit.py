"""Trains a verifier on the pairs that cosine finds difficult; no labels.

Axes: b anchors of a step, m partners of each (the positive first), h w pixels, c channels.
"""

from collections.abc import Callable, Iterator, Mapping
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
from contrastive_jax.training import init_state, train_step
from contrastive_jax.training.steps import take_steps
from contrastive_jax.training.task import Outcome, StepContext
from contrastive_jax.training.watch import Watch, described, is_finite

__all__ = ['Fitted', 'Kind', 'Options', 'fit']

_LEARNING_RATE, _WEIGHT_DECAY, _WARMUP = 1e-3, 1e-4, 0.1


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
    keys = {
        'model_key': device_key(KeyUse.VERIFIER_MODEL, options.seed),
        'run_key': device_key(KeyUse.VERIFIER_STEPS, options.seed),
    }
    one = jax.eval_shape(encode, encoder, jnp.zeros((1, *images.shape[1:])))
    optimizer = _optimizer(options.steps)
    graphdefs, steps, states = {}, {}, {}
    for name, kind in kinds.items():
        build = partial(make_verifier, kind.network, one, options.temperature)
        graphdefs[name], states[name] = init_state(build, optimizer, **keys)
        steps[name] = _make_step(graphdefs[name], kind.thinking, optimizer)
    step = _make_common_step(steps, augmentation)
    seen: list[dict] = []
    watch = Watch(lambda number, verifiers: seen.append(_checked(number, verifiers)))

    def after(number, states, metrics, bar):
        watch.add(number, metrics)

    states = take_steps(
        # Copies, for a step donates its state, and no buffer can be given away twice.
        jax.tree.map(jnp.copy, states),
        lambda states, batch: step(states, batch, encoder),
        _batches(images, unit, pairs, options),
        total=options.steps,
        after=after,
        to_device=jax.device_put,
        name='verifiers',
    )
    watch.check_all()
    return {
        name: _fitted(graphdefs[name], states[name].params, [numbers[name] for numbers in seen])
        for name in kinds
    }


def _batches(images, unit, pairs: Pairs, options: Options) -> Iterator[np.ndarray]:
    rng = host_rng(Use.VERIFIER_ORDER, options.seed)
    neighbours = mutual_neighbours(unit, options.neighbours) if options.neighbours else None
    for _ in range(options.steps):
        yield _pictures(images, draw(rng, pairs, len(images), neighbours))


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


def _make_step(graphdef: nnx.GraphDef, thinking: bool, optimizer) -> partial:
    """A step of one verifier: `train_step`, of views that are encoded already."""
    loss = partial(_loss, thinking=thinking)
    return partial(train_step, graphdef=graphdef, optimizer=optimizer, loss=loss)


def _loss(model, extra, batch, context: StepContext, *, thinking: bool) -> Outcome:
    _, key = jax.random.split(context.key)
    return Outcome(*pair_loss(model, *batch, key, thinking=thinking))


def _make_common_step(steps: Mapping[str, Callable], augmentation):
    """One program for all verifiers, so that images are augmented and encoded once for all."""
    augmentation = FrozenConfigDict(augmentation)

    @partial(jax.jit, donate_argnums=0)
    def step(states, images, encoder):
        # The key of the step is the same for all of them.
        first = next(iter(states.values()))
        view_key, _ = jax.random.split(jax.random.fold_in(first.key, first.step))
        batch = encode_views(view_key, encoder, images, augmentation)
        done = {name: step(states[name], batch) for name, step in steps.items()}
        return tuple({name: pair[place] for name, pair in done.items()} for place in range(2))

    return step


def _checked(step: int, verifiers: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The numbers of a step, by verifier.

    Raises:
      UserError: one of them is not finite.
    """
    for name, numbers in verifiers.items():
        if not is_finite(numbers) or numbers['nonfinite_inner_step'] >= 0:
            raise UserError(
                f'--steps: {name}, step {step}: {described(numbers)}: not finite; nothing is '
                'written. Try another --seed or fewer --steps, and look at the features of the run'
            )
    return verifiers
