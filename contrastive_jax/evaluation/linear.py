"""Linear probing: multinomial logistic regression on frozen features, fitted by L-BFGS.

Axes: n samples, v held out, k features, c classes, g regularisation strengths, r draws.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'STRENGTHS',
    'Linear',
    'correct',
    'few_label_accuracies',
    'fit',
    'predict',
    'principal_axes',
    'standardise',
    'try_strengths',
]

# L2 strengths to choose from, strongest first, so that a tie goes to the stronger one.
STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# L2 strength of the few-label probe, which has no labels to choose one. For 100 samples it equals
# scikit-learn's default, C = 1.
_FEW_LABEL_L2 = 1e-2
_MAX_STEPS = 200
# Norm of the gradient at which a fit ends. The loss is then within about 1e-5 of its minimum.
_TOLERANCE = 2e-4


class Linear(NamedTuple):
    """A linear classifier with scores `x @ weight + bias`.

    Attributes:
      weight: `[k, c]`.
      bias: `[c]`.
    """

    weight: Float[Array, '*g k c']
    bias: Float[Array, '*g c']


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts and scales each feature to mean 0 and standard deviation 1 on the training split.

    A constant feature becomes zero.
    """
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std < 1e-6 * np.abs(mean) + 1e-12, np.inf, std)
    return (train - mean) / std, (test - mean) / std


@jax.jit
def principal_axes(
    train: Float[Array, 'n k'], test: Float[Array, 'm k']
) -> tuple[Float[Array, 'n r'], Float[Array, 'm r']]:
    """Rotates both splits to the principal axes of the training split, r = min(n, k).

    A rotation changes neither the logistic regression nor its penalty. Axes outside the span of the
    training rows would get no weight, so they are left out. In these coordinates, a scale for each
    axis makes the curvature nearly equal in all directions. Then `fit` needs tens of steps, where
    raw pixels would need many hundreds.
    """
    n, k = train.shape
    dot = partial(jnp.matmul, precision='highest')
    if k <= n:
        axes = jnp.linalg.eigh(dot(train.T, train))[1]
    else:
        squares, rows = jnp.linalg.eigh(dot(train, train.T))
        # An axis of nearly zero length is noise, so its coordinate is set to zero.
        kept = squares > 1e-6 * squares[-1]
        inverse = jnp.where(kept, lax.rsqrt(jnp.where(kept, squares, 1.0)), 0.0)
        axes = dot(train.T, rows) * inverse[None]
    return dot(train, axes), dot(test, axes)


@partial(jax.jit, static_argnames='num_classes')
def fit(
    features: Float[Array, 'n k'],
    labels: Int[Array, ' n'],
    l2: Float[Array, ''],
    *,
    num_classes: int,
    start: Linear | None = None,
) -> Linear:
    """Minimises `mean_i CE(x_i W + b, y_i) + l2/2 |W|^2`.

    The bias is not penalised. With `l2 = 1 / (n C)` this is scikit-learn's `LogisticRegression(C)`.
    At the start, the curvature along axis j is `E[x_j^2] / c + l2`. L-BFGS works on scaled weights,
    for which this curvature is one. The minimum is the same.

    Inside, the classes come first: products of the features with `[c, n]` run along their rows,
    which on a CPU is several times as fast as `features.T @ [n, c]`.

    Args:
      features: features `[n, k]`. Standardised features on their principal axes converge fastest.
      labels: labels `[n]` in 0 .. num_classes - 1.
      l2: L2 strength, at least 0.
      num_classes: number c of classes.
      start: classifier to begin at, such as that of another strength; None for zeros.
    """
    curvature = jnp.mean(jnp.square(features), axis=0) / num_classes + l2
    scale = lax.rsqrt(jnp.where(curvature > 0, curvature, 1.0))[None]
    is_own = jnp.arange(num_classes)[:, None] == labels[None]

    def loss(params: Linear):
        weight = scale * params.weight
        logits = jnp.matmul(weight, features.T) + params.bias[:, None]
        own = jnp.sum(jnp.where(is_own, logits, 0.0), axis=0)
        losses = jax.nn.logsumexp(logits, axis=0) - own
        return jnp.mean(losses) + l2 / 2 * jnp.sum(jnp.square(weight))

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

    first = Linear(
        jnp.zeros((num_classes, features.shape[1]), jnp.float32),
        jnp.zeros(num_classes, jnp.float32),
    )
    if start is not None:
        first = Linear(start.weight.T / scale, start.bias)
    params, _, _ = lax.while_loop(unfinished, step, (first, solver.init(first), jnp.float32(1)))
    return params._replace(weight=(scale * params.weight).T)


@jax.jit
def predict(params: Linear, features: Float[Array, 'n k']) -> Int[Array, ' n']:
    """Predicts the class with the highest score for each sample."""
    return jnp.argmax(features @ params.weight + params.bias[None], axis=-1)


@jax.jit
def correct(
    params: Linear, features: Float[Array, 'n k'], labels: Int[Array, ' n']
) -> Int[Array, '']:
    """Counts the samples that are classified correctly."""
    return jnp.sum(predict(params, features) == labels)


def try_strengths(
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
) -> tuple[Bool[np.ndarray, 'g v'], list[Linear]]:
    """Fits a probe with each of `STRENGTHS` and applies it to held-out samples.

    Each fit begins at that of the strength before.

    Args:
      train: standardised features `[n, k]`, and labels `[n]`.
      held_out: features `[v, k]` and labels `[v]` of other samples.
      num_classes: number c of classes.

    Returns:
      Whether each probe classifies each held-out sample correctly, `[g, v]`, and the probes.
    """
    fitted_on, (features, labels) = (tuple(map(jnp.asarray, rows)) for rows in (train, held_out))
    k = features.shape[1]
    fits = [Linear(jnp.zeros((k, num_classes), jnp.float32), jnp.zeros(num_classes, jnp.float32))]
    # Not mapped, because then all probes would take as many steps as the slowest.
    for l2 in STRENGTHS:
        fits.append(fit(*fitted_on, jnp.float32(l2), num_classes=num_classes, start=fits[-1]))
    hits = [np.asarray(predict(fitted, features) == labels) for fitted in fits[1:]]
    return np.stack(hits), fits[1:]


def few_label_accuracies(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
    labels_per_class: int,
    draws: int,
) -> np.ndarray:
    """Test accuracies of probes that are fitted on few labels, one for each random draw.

    The draws are the same for every encoder and seed, so runs can be compared in pairs.

    Args:
      train: standardised features `[n, k]`, and labels `[n]`.
      test: features and labels of the test split.
      num_classes: number c of classes.
      labels_per_class: labels per class in each draw; at most the size of the smallest class.
      draws: number r of random draws.

    Returns:
      Accuracies `[r]` in [0, 1].
    """
    features, labels = train
    by_class = [np.flatnonzero(labels == label) for label in range(num_classes)]
    chosen = np.stack(
        [
            np.concatenate(
                [
                    rng.choice(members, labels_per_class, replace=False)
                    for members in by_class
                    if len(members)
                ]
            )
            for rng in (host_rng(Use.FEW_LABELS, 0, draw) for draw in range(draws))
        ]
    )
    fits = jax.vmap(partial(fit, num_classes=num_classes), in_axes=(0, 0, None))(
        jnp.asarray(features[chosen]), jnp.asarray(labels[chosen]), jnp.float32(_FEW_LABEL_L2)
    )
    scores = jax.vmap(correct, in_axes=(0, None, None))(fits, *map(jnp.asarray, test))
    return np.asarray(scores) / len(test[1])
