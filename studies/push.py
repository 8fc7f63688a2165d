"""Which pairs does each treatment push apart, and how hard? Of a trained encoder, without a step.

    python -m studies.push --workdirs runs/plain0 runs/plain1 --batches 20

Batches of two views of the training images pass through encoder and projector. For each arm the
gradient of the loss by the cosine `s_ik` of an anchor and a negative is how hard the pair is pushed
apart: `w_ik / (tau rho^p_ik)`, with `w_ik` the softmax over the logits of anchor i. The table gives

- `push`: its sum over the negatives of an anchor, over that of plain NT-Xent;
- `difficult`, `one class`: shares of that sum on difficult pairs, and on pairs of one class;
- `angle`: between the gradients of arm and plain by all embeddings, in degrees.

Axes: m = 2b views.
"""

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import mean

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.measure import spread
from contrastive_jax.config import resolve
from contrastive_jax.data.batches import step_indices
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

ARMS = ('simclr', 'removal', 'margin', 'temperature', 'combined')


def treatment(config, arm: str) -> dict:
    """What `nt_xent` is told by an arm, with the numbers of the config."""
    config = config.copy_and_resolve_references()
    config.arm = arm
    pairs = resolve(config)[0].pairs
    if pairs.select == 'none':
        return {'remove': False, 'margin': 0.0, 'temperature_scale': 1.0}
    return {name: pairs[name] for name in ('remove', 'margin', 'temperature_scale')}


def pushes(similarity, difficult, *, temperature, remove, margin, temperature_scale):
    """Gradient of the loss of each anchor by the cosines of its negatives, `[m, m]`."""
    m = len(similarity)
    rows = jnp.arange(m)
    positive = (rows + m // 2) % m

    def loss(similarity):
        cosine = similarity + margin * difficult
        logits = cosine / (temperature * temperature_scale**difficult)
        left_out = (rows[:, None] == rows) | (difficult > 0) & remove
        logits = jnp.where(left_out, -jnp.inf, logits)
        of_positive = similarity[rows, positive] / temperature
        return jnp.sum(jax.nn.logsumexp(logits, axis=1) - of_positive)

    value, gradient = jax.value_and_grad(loss)(similarity)
    return value / m, gradient.at[rows, positive].set(0)


def of_batch(rows, labels, arms, band, temperature):
    """By arm: push, share on difficult pairs, share on pairs of one class, angle to plain."""
    features, embeddings = rows
    m, labels = len(features), jnp.tile(labels, 2)
    difficult = difficult_pairs(features, **band).astype(jnp.float32)
    index = jnp.arange(m)
    negative = (index[:, None] % (m // 2)) != (index % (m // 2))
    same = (labels[:, None] == labels) & negative
    unit = unit_rows(embeddings)
    found = {}
    for arm, given in arms.items():
        value, push = pushes(unit @ unit.T, difficult, temperature=temperature, **given)
        selected = None if arm == 'simclr' else difficult > 0
        loss, gradient = jax.value_and_grad(
            lambda e, selected=selected, given=given: nt_xent(
                e, temperature=temperature, pairs=selected, **given
            )[0]
        )(embeddings)
        total = jnp.sum(push)
        shares = jnp.sum(push * difficult) / total, jnp.sum(push * same) / total
        found[arm] = (total, *shares, gradient, jnp.abs(loss - value))
    plain, whole = found['simclr'][3], found['simclr'][0]
    return {
        arm: jnp.stack([total / whole, hard, one, _angle(gradient, plain), off])
        for arm, (total, hard, one, gradient, off) in found.items()
    }, jnp.stack(
        [jnp.sum(difficult * same) / jnp.sum(difficult), jnp.sum(same) / jnp.sum(negative)]
    )


def _angle(a, b):
    cosine = jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
    return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))


def measure(workdir: Path, batches: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Means over some batches."""
    run = load_run(workdir)
    config, split = run.config, run.construction.split
    n = len(split.images)
    setup = set_up(config, moments_of(workdir, split), n // config.batch_size)
    with closing(Checkpoints(workdir, keep=config.checkpoint_keep)) as checkpoints:
        state = checkpoints.restore(
            devices.replicate(setup.initial), partial(checksum_of_steps, workdir)
        )
    arms = {arm: treatment(config, arm) for arm in ARMS}
    band = {'pos_high': config.pairs.pos_high, 'pos_low': config.pairs.pos_low}

    @jax.jit
    def look(key, images, labels):
        model = nnx.merge(setup.graphdef, state.params, state.stats, copy=True)
        views = two_views(key, images, config.augment)
        rows = model(views, train=False)
        return of_batch(rows, labels, arms, band, config.loss.temperature)

    found = []
    for step in range(batches):
        rows = step_indices(config.seed, step, n, config.batch_size)
        key = device_key(KeyUse.MONITOR_VIEWS, step)
        found.append(jax.device_get(look(key, split.images[rows], split.labels[rows])))
    arms_found = {arm: np.mean([values[arm] for values, _ in found], axis=0) for arm in ARMS}
    assert max(values[-1] for values in arms_found.values()) < 1e-3, 'is not the loss of nt_xent'
    return arms_found, np.mean([shares for _, shares in found], axis=0)


def main() -> None:
    """Parses the options, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workdirs', type=Path, nargs='+', required=True, help='trained runs')
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
    main()
