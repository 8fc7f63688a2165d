"""Time of the linear probe: five L2 strengths and the final fit, beside scikit-learn.

    python -m benchmarks.probe --samples 50000 --features 512

Ours is `linear.try_strengths` on nine tenths of the rows and `linear.fit` on all of them, with the
principal axes before. scikit-learn makes the same six fits on the same axes with `lbfgs`, each from
the one before. With `--cold`, ours beside its own fits from zero. The difference of the objective
is that of the final fit, in float64.

Axes: n samples, k features.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from contrastive_jax.evaluation import linear
from contrastive_jax.randomness import Use, host_rng

_CLASSES = 10
_L2 = linear.STRENGTHS[2]


def features(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten classes that overlap, with a spectrum that falls as that of an encoder, and labels."""
    rng = host_rng(Use.BENCHMARK_DATA, 0, 3)
    labels = rng.integers(_CLASSES, size=n)
    scale = (1 + np.arange(k)) ** -0.5
    rows = rng.standard_normal((n, k), np.float32)
    rows += rng.standard_normal((_CLASSES, k), np.float32)[labels]
    return (rows * scale).astype(np.float32), labels.astype(np.int32)


def objective(fitted: linear.Linear, rows: np.ndarray, labels: np.ndarray) -> float:
    """What `linear.fit` minimises, in float64."""
    weight = np.asarray(fitted.weight, np.float64)
    logits = rows.astype(np.float64) @ weight + np.asarray(fitted.bias, np.float64)
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    own = logits[np.arange(len(rows)), labels]
    return float(np.mean(total - own) + _L2 / 2 * np.sum(weight**2))


def ours(rows: np.ndarray, labels: np.ndarray, cold: bool = False) -> linear.Linear:
    """Our final fit, after the choice of the strength."""
    kept = len(rows) * 9 // 10
    part = rows[:kept], labels[:kept]
    whole = jnp.asarray(rows), jnp.asarray(labels)
    if cold:
        fitted_on = tuple(map(jnp.asarray, part))
        for l2 in linear.STRENGTHS:
            jax.block_until_ready(linear.fit(*fitted_on, jnp.float32(l2), num_classes=_CLASSES))
        return jax.block_until_ready(linear.fit(*whole, jnp.float32(_L2), num_classes=_CLASSES))
    held_out = rows[kept:], labels[kept:]
    _, fits = linear.try_strengths(part, held_out, num_classes=_CLASSES)
    start = fits[linear.STRENGTHS.index(_L2)]
    fitted = linear.fit(*whole, jnp.float32(_L2), num_classes=_CLASSES, start=start)
    return jax.block_until_ready(fitted)


def theirs(rows: np.ndarray, labels: np.ndarray) -> linear.Linear:
    """The same by scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    kept = len(rows) * 9 // 10
    model = LogisticRegression(warm_start=True, max_iter=200, tol=1e-4)
    for l2 in linear.STRENGTHS:
        model.set_params(C=1 / (l2 * kept)).fit(rows[:kept], labels[:kept])
    model.set_params(C=1 / (_L2 * len(rows))).fit(rows, labels)
    return linear.Linear(model.coef_.T, model.intercept_)


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--samples', type=int, default=50_000)
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--cold', action='store_true', help='beside our own fits from zero')
    options = parser.parse_args(arguments)
    report = measure.Report('probe', options.json)
    rows, labels = features(options.samples, options.features)
    standard, _ = linear.standardise(rows, rows[:2])
    axes = measure.timed(lambda: linear.principal_axes(standard, standard[:2])[0])
    rotated = np.asarray(linear.principal_axes(standard, standard[:2])[0])
    other = partial(ours, cold=True) if options.cold else theirs
    fits = {'ours': partial(ours, rotated, labels), 'other': partial(other, rotated, labels)}
    values = {name: objective(fit(), rotated, labels) for name, fit in fits.items()}
    timers = {name: measure.timed(fit) for name, fit in fits.items()}
    times = measure.alternate(timers | {'axes': axes}, options.rounds)
    report.add(
        n=options.samples,
        k=options.features,
        beside='from zero' if options.cold else 'scikit-learn',
        axes_seconds=float(np.median(times['axes'])),
        ours_seconds=float(np.median(times['ours'])),
        other_over_ours=measure.ratio(times['other'], times['ours']),
        objective_less_theirs=values['ours'] - values['other'],
    )


if __name__ == '__main__':
    main()
