"""Time of the linear probe: five L2 strengths and the final fit, beside scikit-learn.

    python -m benchmarks.probe --samples 50000 --features 512
    python -m benchmarks.probe --samples 1281167 --features 2048 --memory 1000

Ours is `linear.try_strengths` on nine tenths of the rows and `linear.fit` on all of them, with the
second moment and the whitening before. scikit-learn makes the same six fits with `lbfgs` on the
principal axes of the same standardised features, each from the one before. With `--cold`, ours is
beside its own fits from zero. The difference of the objective is that of the final fit, in float64.

Axes: n samples, k features.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import measure
from contrastive_jax.evaluation import linear
from contrastive_jax.evaluation.blocks import SPREAD, Blocks, block_shape, lay_out
from contrastive_jax.evaluation.knn import VotingRule, nearest_classes
from contrastive_jax.evaluation.whitening import second_moment, standardise, whitening_matrix
from contrastive_jax.randomness import Use, host_rng

_CLASSES = 10
_L2 = linear.STRENGTHS[2]
# Test samples of ImageNet-1k, for kNN.
_QUERIES = 50_000


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
    cut = [(rows[part], labels[part]) for part in (slice(kept), slice(kept, None))]
    parts = lay_out(cut, _CLASSES)
    moment = np.asarray(second_moment(parts))
    whitenings = {l2: whitening_matrix(moment, l2, _CLASSES) for l2 in linear.STRENGTHS}
    fit = partial(linear.fit, num_classes=_CLASSES)
    final = jnp.float32(_L2), whitenings[_L2]
    if cold:
        for l2, white in whitenings.items():
            jax.block_until_ready(fit(parts[:1], jnp.float32(l2), white))
        return jax.block_until_ready(fit(parts, *final))
    _, fits = linear.try_strengths(parts, whitenings, cut[1], num_classes=_CLASSES)
    start, used = fits[linear.STRENGTHS.index(_L2)], jnp.ones(len(parts), bool)
    return jax.block_until_ready(fit(parts, *final, start=start, used=used))


def theirs(rows: np.ndarray, labels: np.ndarray) -> linear.Linear:
    """The same by scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    kept = len(rows) * 9 // 10
    model = LogisticRegression(warm_start=True, max_iter=200, tol=1e-4)
    for l2 in linear.STRENGTHS:
        model.set_params(C=1 / (l2 * kept)).fit(rows[:kept], labels[:kept])
    model.set_params(C=1 / (_L2 * len(rows))).fit(rows, labels)
    return linear.Linear(model.coef_.T, model.intercept_)


def memory(n: int, k: int, classes: int) -> Iterator[dict[str, object]]:
    """GiB on each device for a fit and for kNN: arguments, and temporary memory besides."""
    devices = jax.devices()
    mesh = Mesh(np.array(devices), ('devices',))
    spread, everywhere = (NamedSharding(mesh, spec) for spec in (SPREAD, P()))

    def array(*shape, dtype=jnp.float32, sharding=everywhere):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def blocks(logits: int) -> Blocks:
        shape = block_shape(n, logits, len(devices))
        return Blocks(
            array(*shape, k, sharding=spread),
            array(*shape, dtype=jnp.int32, sharding=spread),
            array(*shape, sharding=spread),
        )

    start = linear.Linear(array(k, classes), array(classes))
    rules = (VotingRule(200, 0.1), VotingRule(20))
    programs = {
        'fit': linear.fit.lower(
            [blocks(classes)], array(), array(k, k), num_classes=classes, start=start
        ),
        'knn': nearest_classes.lower(
            blocks(1), array(_QUERIES, k), num_classes=classes, rules=rules
        ),
    }
    for name, program in programs.items():
        held = program.compile().memory_analysis()
        yield {
            'program': name,
            'devices': len(devices),
            'given_gib': held.argument_size_in_bytes / (1 << 30),
            'besides_gib': held.temp_size_in_bytes / (1 << 30),
        }


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--samples', type=int, default=50_000)
    parser.add_argument('--features', type=int, default=512)
    parser.add_argument('--cold', action='store_true', help='beside our own fits from zero')
    parser.add_argument(
        '--memory',
        type=int,
        metavar='CLASSES',
        help='compile a fit and kNN of so many classes on all devices, and print what they hold',
    )
    options = parser.parse_args(arguments)
    report = measure.Report('probe', options.json)
    n, k = options.samples, options.features
    if options.memory:
        for held in memory(n, k, options.memory):
            report.add(n=n, k=k, classes=options.memory, **held)
        return
    rows, labels = features(n, k)
    standard, _ = standardise(rows, rows[:2])
    turned = standard @ np.linalg.eigh(standard.T @ standard)[1]
    other = partial(ours, standard, cold=True) if options.cold else partial(theirs, turned)
    fits = {'ours': partial(ours, standard, labels), 'other': partial(other, labels)}
    on = {'ours': standard, 'other': standard if options.cold else turned}
    values = {name: objective(fit(), on[name], labels) for name, fit in fits.items()}
    times = measure.alternate(
        {name: measure.timed(fit) for name, fit in fits.items()}, options.rounds
    )
    report.add(
        n=n,
        k=k,
        beside='from zero' if options.cold else 'scikit-learn',
        ours_seconds=float(np.median(times['ours'])),
        other_over_ours=measure.ratio(times['other'], times['ours']),
        objective_less_theirs=values['ours'] - values['other'],
    )


if __name__ == '__main__':
    main()
