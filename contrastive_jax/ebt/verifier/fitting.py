"""Trains verifiers on the pairs that are difficult for the cosine, without labels.

Axes: b anchors of a step, m partners of each (the positive first), s = m + 1 images of an anchor
and its partners, n images, k features, h w pixels, c channels.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.ebt.verifier.drawing import Draw, draw_pairs
from contrastive_jax.ebt.verifier.encoding import TokenEncoder, encode, encode_views
from contrastive_jax.ebt.verifier.loss import pair_loss
from contrastive_jax.ebt.verifier.networks import Encoded, Verifier, make_verifier
from contrastive_jax.ebt.verifier.pairs import Pairs, mutual_neighbours
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import KeyUse, Use, device_key, host_rng
from contrastive_jax.training import init_state, train_step
from contrastive_jax.training.step import Step
from contrastive_jax.training.steps import take_steps
from contrastive_jax.training.task import Outcome, StepContext
from contrastive_jax.training.watch import Watch, described, is_finite

__all__ = ['FitOptions', 'Fitted', 'Kind', 'train_verifiers']

_LEARNING_RATE, _WEIGHT_DECAY = 1e-3, 1e-4
# Share of the steps in which the learning rate rises.
_WARMUP = 0.1


class Kind(NamedTuple):
    """The kind of a verifier.

    Attributes:
      network: name of its network, a key of `networks.NETWORKS`.
      thinking: whether L_opt is part of its loss.
    """

    network: str
    thinking: bool


class FitOptions(NamedTuple):
    """Settings of the training of verifiers.

    Attributes:
      steps: number of training steps.
      seed: seed of parameters, batches and augmentations.
      temperature: temperature tau of the cosine.
      neighbours: number of nearest images from which positives are drawn, if they are mutual
        neighbours; 0 for the anchor itself.
    """

    steps: int
    seed: int
    temperature: float
    neighbours: int = 0


class Fitted(NamedTuple):
    """A trained verifier.

    Attributes:
      graphdef: static description of the verifier.
      params: its parameters.
      losses: mean of each term of the loss over the last tenth of the steps.
      clipped: number of training steps in which the step size of thinking was clipped.
    """

    graphdef: nnx.GraphDef
    params: Any
    losses: dict[str, float]
    clipped: int


def train_verifiers(
    encoder: TokenEncoder,
    images: np.ndarray | StoredImages,
    unit: Float[np.ndarray, 'n k'],
    pairs: Pairs,
    augmentation: ConfigDict,
    kinds: Mapping[str, Kind],
    options: FitOptions,
) -> dict[str, Fitted]:
    """Trains verifiers with `verification_loss`, all on the same views of the same pairs.

    Every image of a pair is augmented. If only the positive were, a verifier could recognise it by
    its augmentation.

    Args:
      encoder: frozen encoder.
      images: uint8 `[n, h, w, c]`.
      unit: `[n, k]` unit rows, the directions of the features.
      pairs: pairs of the band, from which hard negatives are drawn.
      augmentation: section `augment` of a config.
      kinds: kinds of the verifiers, by name.
      options: settings of the training.

    Returns:
      The trained verifiers, by name.

    Raises:
      UserError: a loss or gradient is not finite; the message names the verifier and the step.
    """
    model_key = device_key(KeyUse.VERIFIER_MODEL, options.seed)
    run_key = device_key(KeyUse.VERIFIER_STEPS, options.seed)
    shapes = jax.eval_shape(encode, encoder, jnp.zeros((1, *images.shape[1:])))
    optimizer = _optimizer(options.steps)
    graphdefs, steps, states = {}, {}, {}
    for name, kind in kinds.items():
        build = partial(make_verifier, kind.network, shapes, options.temperature)
        graphdefs[name], states[name] = init_state(
            build, optimizer, model_key=model_key, run_key=run_key
        )
        steps[name] = _make_step(graphdefs[name], kind.thinking, optimizer)
    step = _make_common_step(steps, augmentation)
    checked: list[dict] = []
    watch = Watch(lambda number, verifiers: checked.append(_checked(number, verifiers)))

    def after(number, states, metrics, bar):
        watch.add(number, metrics)

    states = take_steps(
        # A step donates its state, and no buffer can be donated twice. So these must be copies.
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
        name: _fitted(graphdefs[name], states[name].params, [numbers[name] for numbers in checked])
        for name in kinds
    }


def _batches(
    images: np.ndarray | StoredImages,
    unit: Float[np.ndarray, 'n k'],
    pairs: Pairs,
    options: FitOptions,
) -> Iterator[np.ndarray]:
    """Yields the images of each step."""
    rng = host_rng(Use.VERIFIER_ORDER, options.seed)
    neighbours = mutual_neighbours(unit, options.neighbours) if options.neighbours else None
    for _ in range(options.steps):
        yield _gathered(images, draw_pairs(rng, pairs, len(images), neighbours))


def _fitted(graphdef: nnx.GraphDef, params: Any, by_step: list[dict[str, float]]) -> Fitted:
    """A trained verifier, with a summary of its metrics in each step."""
    last = by_step[-max(1, len(by_step) // 10) :]
    losses = {name: float(np.mean([metrics[name] for metrics in last])) for name in last[0]}
    return Fitted(graphdef, params, losses, sum(int(metrics['clipped']) for metrics in by_step))


def _gathered(images: np.ndarray | StoredImages, drawn: Draw) -> UInt8[np.ndarray, 'b s h w c']:
    """The images of anchors, positives and negatives, `[b, m + 1, h, w, c]`."""
    rows = np.column_stack([drawn.anchors, drawn.positives, drawn.negatives])
    return images[rows.ravel()].reshape(*rows.shape, *images.shape[1:])


def _optimizer(steps: int) -> optax.GradientTransformation:
    warmup = max(1, round(_WARMUP * steps))
    # The output layer starts at zero and the step of thinking is large, so without a warm-up the
    # first updates would be too large.
    schedule = optax.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, warmup, max(2, steps))
    decay = optax.adamw(
        schedule,
        weight_decay=_WEIGHT_DECAY,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return optax.chain(optax.clip_by_global_norm(1.0), decay)


def _make_step(
    graphdef: nnx.GraphDef, thinking: bool, optimizer: optax.GradientTransformation
) -> Step:
    """The training step of one verifier, as a function of its state and encoded views."""
    loss = partial(_loss, thinking=thinking)
    return partial(train_step, graphdef=graphdef, optimizer=optimizer, loss=loss)


def _loss(
    model: Verifier,
    extra: None,
    batch: tuple[Encoded, Float[Array, ' b']],
    context: StepContext,
    *,
    thinking: bool,
) -> Outcome:
    encoded, mixing = batch
    _, key = jax.random.split(context.key)
    return Outcome(*pair_loss(model, encoded, mixing, key, thinking=thinking))


def _make_common_step(steps: Mapping[str, Step], augmentation: ConfigDict) -> Callable:
    """One program for the steps of all verifiers, which augments and encodes the images once."""
    frozen = FrozenConfigDict(augmentation)

    @partial(jax.jit, donate_argnums=0)
    def step(states, images, encoder):
        # All verifiers have the same random key in a step.
        first = next(iter(states.values()))
        view_key, _ = jax.random.split(jax.random.fold_in(first.key, first.step))
        batch = encode_views(view_key, encoder, images, frozen)
        stepped = {name: step(states[name], batch) for name, step in steps.items()}
        next_states = {name: state for name, (state, _) in stepped.items()}
        return next_states, {name: metrics for name, (_, metrics) in stepped.items()}

    return step


def _checked(step: int, verifiers: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns the metrics of a step by verifier.

    Raises:
      UserError: one of the metrics is not finite.
    """
    for name, numbers in verifiers.items():
        if not is_finite(numbers) or numbers['nonfinite_inner_step'] >= 0:
            raise UserError(
                f'--steps: {name}, step {step}: {described(numbers)}: not finite; nothing is '
                'written. Try another --seed or fewer --steps, and check the features of the run'
            )
    return verifiers
