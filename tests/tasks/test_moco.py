import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from contrastive_jax.data.sources import Split
from contrastive_jax.models import Moments
from contrastive_jax.numerics import gather, unit_rows
from contrastive_jax.runs.logs import MetricsLog
from contrastive_jax.tasks import moco
from contrastive_jax.tasks.contrast import views_of
from contrastive_jax.training import loop
from contrastive_jax.training.devices import AXIS
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.task import StepContext, task_of
from tests.helpers import (
    random_batch,
    small_config,
    state_and_step,
    taken_away,
    train_steps,
)

OPTIONS = {'moco__queue_size': 48, 'moco__momentum': 0.9}
DIFFICULT = {
    'pairs__select': 'difficult',
    'pairs__margin': 0.2,
    'pairs__temperature_scale': 0.6,
}


@pytest.mark.ci
@pytest.mark.parametrize('symmetric', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_four_devices_equal_one(symmetric):
    changes = OPTIONS | DIFFICULT | {'moco__symmetric': symmetric}
    changes['moco__queue_size'] = 64
    one, one_history = train_steps(small_config(**changes), devices=1, steps=4)
    four, four_history = train_steps(small_config(**changes), devices=4, steps=4)
    for single, several in zip(one_history, four_history, strict=True):
        for name in single:
            np.testing.assert_allclose(several[name], single[name], rtol=5e-4, err_msg=name)
    # The same keys at the same places: the queue is device-major, as the batch is.
    if not symmetric:
        np.testing.assert_array_equal(four.extra.queue.labels, one.extra.queue.labels)
    trees = ('params', 'stats', 'extra') if not symmetric else ('params', 'stats')
    for tree in trees:
        for single, several in zip(
            jax.tree.leaves(getattr(one, tree)), jax.tree.leaves(getattr(four, tree)), strict=True
        ):
            np.testing.assert_allclose(several, single, rtol=2e-3, atol=5e-5)


def test_the_momentum_update_is_exact():
    config = small_config(**OPTIONS)
    state, step = state_and_step(config, mapped=False)
    step = jax.jit(step)
    expected = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state.params)]
    for seed in range(4):
        current = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state.params)]
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, current, strict=True)]
        state, _ = step(state, random_batch(seed, config.batch_size))
    for found, exact in zip(jax.tree.leaves(state.extra.params), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-7)


def test_keys_come_from_the_momentum_encoder_and_take_no_gradient():
    config = small_config(**OPTIONS)
    state, step = state_and_step(config, mapped=False)
    next_state, _ = jax.jit(step)(state, random_batch(0, config.batch_size))
    follower = next_state.extra.params
    # The first update moves nothing: both encoders are the same, and only one is trained.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), follower, state.params)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), next_state.params, state.params)
    assert any(jax.tree.leaves(changed))
    assert any(
        bool((a != b).any())
        for a, b in zip(
            jax.tree.leaves(next_state.extra.stats), jax.tree.leaves(state.stats), strict=True
        )
    )


def test_the_queue_is_filled_in_order_and_wraps_around():
    config = small_config(**OPTIONS)  # 16 keys a step, 3 steps a round
    state, step = state_and_step(config, mapped=False)
    step = jax.jit(step)
    batches = [
        random_batch(seed, 16)._replace(labels=np.full(16, seed, np.int32)) for seed in range(5)
    ]
    np.testing.assert_array_equal(state.extra.queue.labels, -1)
    seen = []
    for batch in batches:
        state, _ = step(state, batch)
        seen.append(np.asarray(state.extra.queue.labels)[::16].tolist())
    assert seen == [[0, -1, -1], [0, 1, -1], [0, 1, 2], [3, 1, 2], [3, 4, 2]]


def test_a_row_of_the_queue_is_one_image():
    queue = moco.Queue(jnp.zeros((6, 3)), jnp.zeros((6, 2)), jnp.full(6, -1))
    keys = moco.EncodedRows(jnp.full((2, 3), 7.0), jnp.full((2, 2), 8.0), jnp.array([4, 5]))
    after = moco.enqueue(queue, keys, jnp.int32(5), None)
    np.testing.assert_array_equal(after.labels, [-1, -1, -1, -1, 4, 5])
    np.testing.assert_array_equal(after.features[:, 0], [0, 0, 0, 0, 7, 7])
    np.testing.assert_array_equal(after.embeddings[:, 0], [0, 0, 0, 0, 8, 8])


def test_difficult_pairs_are_those_of_the_queue():
    config = small_config(**OPTIONS, **DIFFICULT, pairs__pos_high=0.25, pairs__pos_low=0.5)
    _, history = train_steps(config, devices=1, steps=2)
    for metrics in history:
        np.testing.assert_allclose(metrics['selected_share'], 12 / 48, rtol=1e-6)
    # At first the whole queue is random, of no class; then 16 of its 48 rows have one.
    assert np.isnan(history[0]['different_class_share'])
    assert 0 < history[1]['different_class_share'] < 1


def test_a_share_of_no_known_class_is_null_in_the_log(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write(1, 0, {'loss': 2.5, 'different_class_share': float('nan')})
    log.close()
    entry = json.loads((tmp_path / 'metrics.jsonl').read_text())
    assert entry == {'step': 1, 'epoch': 0, 'loss': 2.5, 'different_class_share': None}


@pytest.mark.slow
def test_a_treatment_of_nothing_is_plain():
    plain, _ = train_steps(small_config(**OPTIONS), devices=1, steps=4)
    zero, _ = train_steps(small_config(**OPTIONS, pairs__select='difficult'), devices=1, steps=4)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), plain.params, zero.params
    )


@pytest.mark.slow
def test_symmetric_asks_with_both_views():
    changes = OPTIONS | {'moco__queue_size': 64}
    one, _ = train_steps(small_config(**changes), devices=1, steps=2)
    both, _ = train_steps(small_config(**changes, moco__symmetric=True), devices=1, steps=2)
    # 16 keys a step, or 32.
    assert np.sum(one.extra.queue.labels >= 0) == 32
    assert np.sum(both.extra.queue.labels >= 0) == 64


def test_with_both_views_as_queries_each_meets_the_key_of_the_other():
    config = small_config(moco__queue_size=64, moco__symmetric=True)
    setup = set_up(config, Moments((0.5,) * 3, (0.25,) * 3), 10)
    state, batch = setup.initial, random_batch(0, 8)
    context = StepContext(state.key, 0, None, jnp.int32(0))

    @jax.jit
    def similarities(params, stats):
        model = nnx.merge(setup.graphdef, params, stats, copy=True)
        metrics = task_of(config).loss(model, state.extra, batch, context).metrics
        views, _ = views_of(batch, context, config.augment)
        rows = unit_rows(model(views, train=True)[1])
        other = jnp.roll(rows, 8, axis=0)
        return metrics['positive_similarity'], jnp.mean(jnp.sum(rows * other, axis=1))

    similarity, expected = similarities(state.params, state.stats)
    assert expected < 0.99
    np.testing.assert_allclose(similarity, expected, rtol=1e-4)


def test_shuffled_keys_return_to_their_queries():
    """With batch norm over all devices the order is nothing to the encoder, so keys must agree."""
    config = small_config(**OPTIONS)
    setup = set_up(config, Moments((0.5,) * 3, (0.25,) * 3), 10, AXIS)
    rng = np.random.default_rng(0)
    views = rng.random((4, 5, 8, 8, 3), dtype=np.float32)
    labels = np.arange(20, dtype=np.int32).reshape(4, 5)

    def keys(shuffle_key):
        def own(views, labels):
            momentum = setup.initial.extra
            rows, _ = moco.key_rows(setup.graphdef, momentum, views, labels, shuffle_key, AXIS)
            return rows

        return jax.pmap(own, axis_name=AXIS)(views, labels)

    plain, mixed = keys(None), keys(jax.random.key(3))
    np.testing.assert_array_equal(mixed.labels, labels)
    np.testing.assert_allclose(mixed.embeddings, plain.embeddings, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_shuffling_changes_the_statistics_of_a_device():
    changes = OPTIONS | {'model__sync_batch_norm': False}
    _, plain = train_steps(small_config(**changes), devices=4, steps=1)
    _, mixed = train_steps(small_config(**changes, moco__shuffle=True), devices=4, steps=1)
    assert plain[0]['loss'] != mixed[0]['loss']


def test_each_device_gets_its_own_rows_back():
    def own(rows):
        return moco._own(gather(rows, AXIS), AXIS)

    rows = np.arange(24.0, dtype=np.float32).reshape(4, 3, 2)
    np.testing.assert_array_equal(jax.pmap(own, axis_name=AXIS)(rows), rows)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_a_resumed_run_is_the_unbroken_one(tmp_path, monkeypatch):
    config = small_config(**OPTIONS, **DIFFICULT, epochs=4, checkpoint_every=3)
    batch = random_batch(0, 40)
    split = Split(batch.images, batch.labels)
    for name in ('whole', 'broken'):
        (tmp_path / name).mkdir()
    whole = loop.pretrain(config, split, tmp_path / 'whole')
    with taken_away(monkeypatch, 'make_batch', 7), pytest.raises(RuntimeError, match='taken away'):
        loop.pretrain(config, split, tmp_path / 'broken')
    resumed = loop.pretrain(config, split, tmp_path / 'broken')
    assert int(resumed.final.step) == 8
    jax.tree.map(
        np.testing.assert_array_equal,
        (whole.final.params, whole.final.extra),
        (resumed.final.params, resumed.final.extra),
    )
