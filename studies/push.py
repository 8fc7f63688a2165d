"""Which pairs does each treatment push apart, and how hard?

    python -m studies.push --workdirs runs/plain0 runs/plain1 --batches 20

Measured on trained encoders without a training step. Batches of two views of the training images
pass through encoder and projector. For each arm the gradient of the loss with respect to the cosine
`s_ik` of an anchor and a negative says how hard the pair is pushed apart: `w_ik / (tau rho^p_ik)`,
with `w_ik` the softmax over the logits of anchor i. The table gives

- `push`: its sum over the negatives, over that of plain NT-Xent;
- `difficult`, `one class`: shares of that sum on difficult pairs, and on pairs of one class;
- `angle`: between the gradients of arm and plain with respect to all embeddings, in degrees.

Axes: m = 2b views.
"""

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from contrastive_jax.config import resolve
from contrastive_jax.data.batches import step_indices
from contrastive_jax.errors import UserError
from contrastive_jax.numerics import unit_rows
from contrastive_jax.objectives import difficult_pairs, nt_xent
from contrastive_jax.randomness import KeyUse, device_key
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.images import moments_of
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runs.logs import checksum_of_steps
from contrastive_jax.training import devices
from contrastive_jax.training.augmentation import two_views
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.task import task_of
from studies.measures import spread
from studies.outputs import as_path, command

_TOLERANCE = 1e-3
_ON_DIFFICULT = ('removal', 'margin', 'temperature', 'combined')
ARMS = ('simclr', *_ON_DIFFICULT, 'margin_all', 'temperature_all')


class Treatment(NamedTuple):
    """What an arm does to which pairs; the fields are those of `config.pairs`."""

    select: str = 'none'
    remove: bool = False
    margin: float = 0.0
    temperature_scale: float = 1.0


def treatment(config, arm: str) -> Treatment:
    """The treatment of an arm, with the numbers of the config."""
    config = config.copy_and_resolve_references()
    config.arm = arm
    pairs = resolve(config)[0].pairs
    if pairs.select == 'none':
        return Treatment()
    return Treatment(**{name: pairs[name] for name in Treatment._fields})


def pushes(similarity, treated, *, temperature, remove, margin, temperature_scale):
    """Mean loss, and the gradient of its sum with respect to the cosines, `[m, m]`."""
    m = len(similarity)
    rows = jnp.arange(m)
    positive = (rows + m // 2) % m

    def loss(similarity):
        cosine = similarity + margin * treated
        logits = cosine / (temperature * temperature_scale**treated)
        left_out = (rows[:, None] == rows) | (treated > 0) & remove
        logits = jnp.where(left_out, -jnp.inf, logits)
        of_positive = similarity[rows, positive] / temperature
        return jnp.sum(jax.nn.logsumexp(logits, axis=1) - of_positive)

    value, gradient = jax.value_and_grad(loss)(similarity)
    return value / m, gradient.at[rows, positive].set(0)


class Effect(NamedTuple):
    """What an arm does to a batch, see the head of the file.

    Attributes:
      push: summed over all pairs.
      difficult: share of the push on difficult pairs.
      one_class: share of the push on pairs of one class.
      gradient: with respect to the embeddings.
      error: difference of the loss here and that of `nt_xent`.
    """

    push: jax.Array
    difficult: jax.Array
    one_class: jax.Array
    gradient: jax.Array
    error: jax.Array


def of_batch(rows, labels, arms, band, temperature):
    """The columns of the table by arm, with the error, and the shares of pairs of one class."""
    features, embeddings = rows
    m, labels = len(features), jnp.tile(labels, 2)
    difficult = difficult_pairs(features, **band).astype(jnp.float32)
    index = jnp.arange(m)
    negative = (index[:, None] % (m // 2)) != (index % (m // 2))
    # As a mask for `pushes`, and as `nt_xent` takes it.
    selections = {
        'none': (jnp.zeros_like(difficult), None),
        'difficult': (difficult, difficult > 0),
        'all': (negative.astype(jnp.float32), 'all'),
    }
    same = (labels[:, None] == labels) & negative
    unit = unit_rows(embeddings)
    effects = {}
    for arm, chosen in arms.items():
        given = chosen._asdict()
        treated, pairs = selections[given.pop('select')]
        value, push = pushes(unit @ unit.T, treated, temperature=temperature, **given)
        loss = partial(nt_xent, temperature=temperature, pairs=pairs, **given)
        (expected, _), gradient = jax.value_and_grad(loss, has_aux=True)(embeddings)
        total = jnp.sum(push)
        effects[arm] = Effect(
            total,
            jnp.sum(push * difficult) / total,
            jnp.sum(push * same) / total,
            gradient,
            jnp.abs(expected - value),
        )
    plain = effects['simclr']
    columns = {
        arm: jnp.stack(
            [
                effect.push / plain.push,
                effect.difficult,
                effect.one_class,
                _angle(effect.gradient, plain.gradient),
                effect.error,
            ]
        )
        for arm, effect in effects.items()
    }
    of_difficult = jnp.sum(difficult * same) / jnp.sum(difficult)
    return columns, jnp.stack([of_difficult, jnp.sum(same) / jnp.sum(negative)])


def _angle(a, b):
    cosine = jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
    return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))


def measure(workdir: Path, batches: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Means over some batches."""
    run = load_run(workdir)
    config, split = run.config, run.construction.split
    kind = task_of(config).kind
    if kind != 'encoder':
        raise UserError(
            f'--workdirs={workdir}: holds a {kind} ({config.model.name}), but pairs are pushed by '
            'the loss of an encoder; give the folder of a contrastive run'
        )
    if split.labels is None:
        raise UserError(f'--workdirs={workdir}: its images have no labels')
    n = len(split.images)
    setup = set_up(config, moments_of(workdir, split), n // config.batch_size)
    with closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        state = checkpoints.restore(
            devices.replicate(setup.initial), partial(checksum_of_steps, workdir)
        )
    arms = {arm: treatment(config, arm) for arm in ARMS}
    band = {'pos_high': config.pairs.pos_high, 'pos_low': config.pairs.pos_low}

    @jax.jit
    def effects(params, stats, key, images, labels):
        model = nnx.merge(setup.graphdef, params, stats, copy=True)
        rows = model(two_views(key, images, config.augment), train=False)
        return of_batch(rows, labels, arms, band, config.loss.temperature)

    seed_key, results = device_key(KeyUse.PUSH_STUDY, config.seed), []
    for step in range(batches):
        rows = step_indices(config.seed, step, n, config.batch_size)
        key = jax.random.fold_in(seed_key, step)
        batch = split.images[rows], split.labels[rows]
        results.append(jax.device_get(effects(state.params, state.stats, key, *batch)))
    columns = {arm: np.array([by_arm[arm] for by_arm, _ in results]) for arm in ARMS}
    error = max(values[:, -1].max() for values in columns.values())
    if error > _TOLERANCE:
        raise RuntimeError(f'the loss differs from that of nt_xent by {error:.1e}')
    means = {arm: values.mean(axis=0) for arm, values in columns.items()}
    return means, np.mean([shares for _, shares in results], axis=0)


def main() -> None:
    """Parses the options, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workdirs', type=as_path, nargs='+', required=True, help='trained runs')
    parser.add_argument('--batches', type=int, default=20)
    options = parser.parse_args()
    runs = [measure(workdir, options.batches) for workdir in options.workdirs]
    difficult, every = (mean(float(shares[at]) for _, shares in runs) for at in (0, 1))
    print(f'of one class: {difficult:.3f} of the difficult pairs, {every:.3f} of all negatives')
    print('| arm | push | difficult | one class | angle |\n|---|---|---|---|---|')
    for arm in ARMS:
        cells = (spread([float(values[arm][at]) for values, _ in runs]) for at in range(4))
        print(f'| {arm} | {" | ".join(cells)} |')


if __name__ == '__main__':
    command(main)
