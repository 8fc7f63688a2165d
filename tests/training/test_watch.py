"""Numbers that go wrong while a run trains."""

import functools
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from contrastive_jax import main
from contrastive_jax.config import resolve
from contrastive_jax.data.batches import step_indices
from contrastive_jax.errors import UserError
from contrastive_jax.training.devices import map_over_devices, replicate
from contrastive_jax.training.step import init_state, train_step
from contrastive_jax.training.task import Outcome
from contrastive_jax.training.watch import Check, Watch
from tests.helpers import (
    npz_changes,
    random_batch,
    small_config,
    split_over,
    state_and_step,
)

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


def _poisoned(state):
    """With a parameter that is not a number, so that loss and gradient are not."""
    first, *rest = jax.tree.leaves(state.params)
    leaves = [first * np.float32('nan'), *rest]
    return state._replace(params=jax.tree.unflatten(jax.tree.structure(state.params), leaves))


def _step(config, poison):
    state, step = state_and_step(config, mapped=True)
    before = _poisoned(state) if poison else state
    # The step gives its state away.
    kept = jax.tree.map(np.asarray, before._replace(key=None))
    mapped = map_over_devices(step)
    after, metrics = mapped(replicate(before), split_over(4, random_batch(0, config.batch_size)))
    return kept, after, metrics


@pytest.mark.parametrize('queue', [0, 32])
def test_a_skipped_update_changes_nothing_but_the_counts(queue):
    config = small_config(on_nonfinite='skip', moco__queue_size=queue)
    before, after, metrics = _step(config, poison=True)
    assert not np.isfinite(metrics['loss'])
    assert (int(after.step), int(after.skipped)) == (1, 1)
    assert int(metrics['skipped_updates']) == 1
    same = {'step': None, 'skipped': None, 'key': None}
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(after._replace(**same)),
        before._replace(**same),
    )


def test_a_finite_update_is_not_skipped():
    plain = _step(small_config(), poison=False)[1]
    watched = _step(small_config(on_nonfinite='skip'), poison=False)[1]
    assert int(watched.skipped) == 0
    # Two programs, which XLA may round differently: to the last digits, but for entries near zero.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)
    jax.tree.map(close, jax.device_get(plain.params), jax.device_get(watched.params))


def test_a_gradient_that_is_not_finite_is_skipped_by_itself():
    optimizer = optax.sgd(0.1)
    keys = dict(zip(('model_key', 'run_key'), jax.random.split(jax.random.key(0)), strict=True))
    graphdef, state = init_state(lambda ctx: nnx.Linear(2, 1, rngs=ctx.rngs), optimizer, **keys)

    def loss(model, extra, batch, context):
        weight = model.kernel[...]
        # Of 0, where a square root has no slope.
        return Outcome(jnp.sqrt(jnp.sum(weight - weight)), {}, extra)

    options = {'graphdef': graphdef, 'optimizer': optimizer, 'skip_nonfinite': True}
    after, metrics = train_step(state, None, loss=loss, **options)
    assert metrics['loss'] == 0
    assert int(after.skipped) == 1
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)


@pytest.fixture
def config(tmp_path):
    # At this rate the parameters overflow within some steps.
    return small_config(
        **npz_changes(tmp_path),
        epochs=20,
        checkpoint_every=3,
        optimizer__learning_rate=1e18,
        optimizer__weight_decay=1e3,
    )


def test_a_run_stops_at_what_is_not_finite_and_keeps_the_batch(config, tmp_path):
    workdir = tmp_path / 'run'
    with pytest.raises(UserError, match=r'step \d+: loss=.*not finite.*on_nonfinite=skip'):
        main.run(config, workdir)
    dump = json.loads((workdir / 'nonfinite.json').read_text())
    step = dump['step']
    assert not np.isfinite([float(dump['loss']), float(dump['gradient_norm'])]).all()
    np.testing.assert_array_equal(dump['indices'], step_indices(config.seed, step - 1, 40, 16))
    assert dump['config'] == resolve(config)[0].to_dict()
    assert not (workdir / 'result.json').exists()
    saved = [int(path.name) for path in (workdir / 'checkpoints').iterdir()]
    assert all(other < step for other in saved)
    # The same again, from the checkpoint before it.
    with pytest.raises(UserError, match=rf'step {step}: '):
        main.run(config, workdir)


@pytest.mark.slow
def test_a_run_that_skips_says_how_often(config, tmp_path, caplog):
    config.on_nonfinite = 'skip'
    with caplog.at_level(logging.WARNING):
        result = main.run(config, tmp_path / 'run')
    lines = [json.loads(text) for text in (tmp_path / 'run' / 'metrics.jsonl').open()]
    assert result['skipped_updates'] == lines[-1]['skipped_updates'] > 0
    assert caplog.text.count('this update is left out') == result['skipped_updates']


def _metrics(std):
    return {'loss': np.float32(1), 'gradient_norm': np.float32(1), 'embedding_std': np.float32(std)}


def test_a_collapse_is_said_once_each_time(tmp_path, caplog):
    watch = Watch(Check(small_config(), 40, tmp_path))
    for step, std in enumerate([0.3, 0.001, 0.001, 0.2, 0.0], 1):
        watch.add(step, _metrics(std))
    watch.check_all()
    assert [record.args[0] for record in caplog.records] == [2, 5]
    assert 'the embeddings have collapsed' in caplog.text


def test_the_standard_deviation_is_that_of_directions_apart():
    """Embeddings of a network without weights are one; those of a usual one are not."""
    config = small_config()
    _, _, usual = _step(config, poison=False)
    state, step = state_and_step(config, mapped=True)
    flat = state._replace(params=jax.tree.map(np.zeros_like, state.params))
    batch = split_over(4, random_batch(0, config.batch_size))
    _, collapsed = map_over_devices(step)(replicate(flat), batch)
    assert float(collapsed['embedding_std']) < 0.01 < float(usual['embedding_std'])


def test_an_inner_step_that_is_not_finite_is_named(tmp_path):
    watch = Watch(Check(small_config(model__name='energy'), 40, tmp_path))
    nan = np.float32('nan')
    watch.add(5, {'loss': nan, 'gradient_norm': nan, 'nonfinite_inner_step': np.float32(2)})
    with pytest.raises(UserError, match=r'step 5: .*inner step 2 of thinking'):
        watch.check_all()


def test_an_inner_step_stops_a_run_by_itself_but_leaves_no_update_out(tmp_path, caplog):
    numbers = {'loss': 1.0, 'gradient_norm': 1.0, 'nonfinite_inner_step': 3.0}
    config = small_config(model__name='energy')
    with pytest.raises(UserError, match=r'step 5: .*inner step 3 of thinking'):
        Check(config, 40, tmp_path)(5, numbers)
    Check(config, 40, tmp_path)(5, {**numbers, 'nonfinite_inner_step': -1.0})
    config.on_nonfinite = 'skip'
    Check(config, 40, tmp_path)(5, numbers)
    assert 'left out' not in caplog.text
