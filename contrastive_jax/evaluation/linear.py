"""Linear probing: multinomial logistic regression on frozen features, fitted by L-BFGS.

Axes: n samples, v held out, k features, c classes, g strengths of the penalty, p parts; r draws of
m samples; b, d, s as in `evaluation.blocks`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.evaluation.blocks import Blocks, beside
from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'FEW_LABEL_L2',
    'STRENGTHS',
    'Linear',
    'correct',
    'draw_few_labels',
    'few_label_accuracies',
    'fit',
    'predict',
    'try_strengths',
]

# L2 strengths to choose from, strongest first, so that a tie goes to the stronger one.
STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# L2 strength of the few-label probe, one of `STRENGTHS`, since it has no labels to choose one. For
# 100 samples it equals scikit-learn's default, C = 1.
FEW_LABEL_L2 = 1e-2
_MAX_STEPS = 200
# Norm of the gradient at which a fit ends. The loss is then within about 1e-5 of its minimum, or
# 1e-4 with the weakest penalty and classes that a plane separates.
_TOLERANCE = 2e-4
# By default accelerators round the factors of a product to fewer bits, and the norm of the gradient
# might never get below the tolerance.
_product = partial(jnp.matmul, precision='highest')


class Linear(NamedTuple):
    """A linear classifier with scores `x @ weight + bias`.

    Attributes:
      weight: `[k, c]`.
      bias: `[c]`.
    """

    weight: Float[Array, '*g k c']
    bias: Float[Array, '*g c']


@partial(jax.jit, static_argnames='num_classes')
def fit(
    parts: Sequence[Blocks],
    l2: Float[Array, ''],
    whitening: Float[Array, 'k k'],
    *,
    num_classes: int,
    start: Linear | None = None,
    used: Bool[Array, ' p'] | None = None,
) -> Linear:
    """Minimises `mean_i CE(x_i W + b, y_i) + l2/2 |W|^2` over the samples of the parts.

    The bias is not penalised. With `l2 = 1 / (n C)` this is scikit-learn's `LogisticRegression(C)`.
    L-BFGS works on weights in which the curvature at zero is one, see `evaluation.whitening`. The
    minimum is the same. An evaluation reads the features twice and makes two products of
    `2 n k c` operations; its logits are those of one block.

    Args:
      parts: standardised features and labels in 0 .. num_classes - 1.
      l2: L2 strength, at least 0.
      whitening: what `evaluation.whitening` returns for `l2`, of these or similar samples.
      num_classes: number c of classes.
      start: classifier to begin at, such as that of another strength; None for zeros.
      used: whether to fit on each part; no time is spent on the others. So one program fits with
        and without held-out samples. None for all parts.

    Returns:
      The classifier at the minimum, float32: weight `[k, c]` and bias `[c]`. A fit ends after 200
      steps of L-BFGS even if the minimum is not reached.
    """
    counts = jnp.stack([jnp.sum(blocks.counted) for blocks in parts])
    count = jnp.sum(counts if used is None else jnp.where(used, counts, 0.0))

    def losses_of(place: int, classifier: _Classifier):
        if used is None:
            return _sum_of_losses(classifier, parts[place])
        none = jnp.float32(0)
        return lax.cond(used[place], _sum_of_losses, lambda *_: none, classifier, parts[place])

    def loss(params: _Classifier):
        weight = _product(params.weight, whitening.T)
        classifier = _Classifier(weight, params.bias)
        losses = sum(losses_of(place, classifier) for place in range(len(parts)))
        return losses / count + l2 / 2 * jnp.sum(jnp.square(weight))

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry):
        params, state, _ = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), state, optax.tree.norm(grad)

    def unfinished(carry):
        _, state, norm = carry
        return (optax.tree.get(state, 'count') < _MAX_STEPS) & (norm > _TOLERANCE)

    first = _Classifier(
        jnp.zeros((num_classes, len(whitening)), jnp.float32),
        jnp.zeros(num_classes, jnp.float32),
    )
    if start is not None:
        weight = jax.scipy.linalg.solve_triangular(whitening, start.weight)
        first = _Classifier(weight.T, start.bias)
    params, _, _ = lax.while_loop(unfinished, step, (first, solver.init(first), jnp.float32(1)))
    return Linear(_product(whitening, params.weight.T), params.bias)


class _Classifier(NamedTuple):
    """A linear classifier with the classes first.

    Products of the features with `[c, s]` then run along their rows, which on a CPU is several
    times as fast as `features.T @ [s, c]`.
    """

    weight: Float[Array, 'c k']
    bias: Float[Array, ' c']


@jax.custom_vjp
def _sum_of_losses(classifier: _Classifier, blocks: Blocks) -> Float[Array, '']:
    """Sum of the cross-entropies. Each block's gradient is made beside its loss.

    The reverse pass of JAX would keep the logits of all blocks.
    """
    return _with_gradient(classifier, blocks)[0]


def _with_gradient(classifier: _Classifier, blocks: Blocks) -> tuple[Float[Array, ''], _Classifier]:
    def loss_on_device(classifier: _Classifier, part: Blocks):
        logits = _product(classifier.weight, part.features.T) + classifier.bias[:, None]
        is_own = jnp.arange(len(classifier.bias))[:, None] == part.labels[None]
        own = jnp.sum(jnp.where(is_own, logits, 0.0), axis=0)
        losses = jax.nn.logsumexp(logits, axis=0) - own
        return jnp.sum(part.counted * losses)

    def on_device(part: Blocks):
        return jax.value_and_grad(loss_on_device)(classifier, part)

    def of_block(block: Blocks):
        if len(block.labels) == 1:
            return on_device(_first(block))
        # The compiler leaves each part of the sum on the device that holds it.
        return jax.tree.map(partial(jnp.sum, axis=0), jax.vmap(on_device)(block))

    def add_block(sums, block: Blocks):
        return jax.tree.map(jnp.add, sums, of_block(block)), None

    # XLA does not remove a loop over one block, which takes up to twice the time on a CPU.
    if len(blocks.labels) == 1:
        return of_block(_first(blocks))
    zeros = jnp.float32(0), jax.tree.map(jnp.zeros_like, classifier)
    return lax.scan(add_block, zeros, blocks)[0]


def _first(blocks: Blocks) -> Blocks:
    """The first slice along the leading axis."""
    return jax.tree.map(lambda leaf: leaf[0], blocks)


def _scaled(gradient: _Classifier, factor: Float[Array, '']) -> tuple[_Classifier, None]:
    """The reverse pass: the samples get no gradient."""
    return jax.tree.map(lambda leaf: factor * leaf, gradient), None


_sum_of_losses.defvjp(_with_gradient, _scaled)


@jax.jit
def predict(params: Linear, features: Float[Array, 'n k']) -> Int[Array, ' n']:
    """Predicts the class with the highest score for each sample."""
    return jnp.argmax(_product(features, params.weight) + params.bias[None], axis=-1)


@jax.jit
def correct(
    params: Linear, features: Float[Array, 'n k'], labels: Int[Array, ' n']
) -> Int[Array, '']:
    """Counts the samples that are classified correctly."""
    return jnp.sum(predict(params, features) == labels)


def try_strengths(
    parts: Sequence[Blocks],
    whitenings: Mapping[float, Float[np.ndarray, 'k k']],
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
) -> tuple[Bool[np.ndarray, 'g v'], list[Linear]]:
    """Fits a probe with each of `STRENGTHS` on the first part and applies it to held-out samples.

    Each fit begins at that of the strength before.

    Args:
      parts: standardised features and labels to fit on, and those held out, if there are any.
      whitenings: what `evaluation.whitening` returns for each of `STRENGTHS`.
      held_out: features `[v, k]` and labels `[v]` of other samples.
      num_classes: number c of classes.

    Returns:
      Whether each probe classifies each held-out sample correctly, `[g, v]`, and the probes.
    """
    features, labels = map(jnp.asarray, held_out)
    # Where the samples are, as what a fit returns, so that one program makes all fits.
    zeros = jnp.zeros((features.shape[1], num_classes), jnp.float32)
    fits = [beside(Linear(zeros, zeros[0]), parts[0])]
    fit_again = partial(fit, parts, num_classes=num_classes, used=jnp.arange(len(parts)) == 0)
    # Not mapped, because then all probes would take as many steps as the slowest.
    for l2 in STRENGTHS:
        fits.append(fit_again(jnp.float32(l2), whitenings[l2], start=fits[-1]))
    hits = [np.asarray(predict(fitted, features) == labels) for fitted in fits[1:]]
    return np.stack(hits), fits[1:]


def draw_few_labels(
    labels: Int[np.ndarray, ' n'], labels_per_class: int, draws: int
) -> Int[np.ndarray, 'r m']:
    """Draws the same number of samples of each class, several times.

    The draws are the same for every encoder and seed, so runs can be compared in pairs.

    Args:
      labels: class of each sample.
      labels_per_class: samples per class in each draw; at most the size of the smallest class.
      draws: number r of random draws.

    Returns:
      Indices of the samples, `[r, m]`, class after class.

    Raises:
      ValueError: a class has fewer samples than `labels_per_class`.
    """
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    streams = (host_rng(Use.FEW_LABELS, 0, draw) for draw in range(draws))
    return np.stack(
        [
            np.concatenate(
                [rng.choice(members, labels_per_class, replace=False) for members in by_class]
            )
            for rng in streams
        ]
    )


def few_label_accuracies(
    drawn: tuple[Float[np.ndarray, 'r m k'], Int[np.ndarray, 'r m']],
    whitening: Float[np.ndarray, 'k k'],
    test: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
) -> Float[np.ndarray, ' r']:
    """Test accuracies in [0, 1] of probes that are fitted on few labels, one for each draw.

    Args:
      drawn: standardised features and labels of the samples that `draw_few_labels` names.
      whitening: what `evaluation.whitening` returns for `FEW_LABEL_L2`.
      test: features and labels of the test split.
      num_classes: number c of classes.

    Returns:
      `[r]` float64 in [0, 1].
    """
    features, labels = drawn
    # One block on one device for each draw.
    blocks = (part[:, None, None] for part in (features, labels, np.ones(labels.shape, np.float32)))
    queries, truth = map(jnp.asarray, test)
    l2 = jnp.float32(FEW_LABEL_L2)
    # One draw after the other: mapped, all would take as many steps as the slowest, JAX would take
    # longer to trace them, and the logits of a large test split would take much memory.
    hits = [
        correct(fit([Blocks(*draw)], l2, whitening, num_classes=num_classes), queries, truth)
        for draw in zip(*map(jnp.asarray, blocks), strict=True)
    ]
    return np.array(hits) / len(truth)
