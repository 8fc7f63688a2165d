from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.training.devices import AXIS, map_over_devices, replicate
from tests.config.test_config import VARIANTS, load_config
from tests.helpers import random_batch, small_config, split_over, state_and_step, train_steps
from tests.marks import in_ci

ARMS = {
    'plain': {},
    'margin': {'pairs__select': 'difficult', 'pairs__margin': 0.3},
    'removal': {'pairs__select': 'difficult', 'pairs__remove': True},
    'combined': {
        'pairs__select': 'difficult',
        'pairs__margin': 0.2,
        'pairs__temperature_scale': 0.6,
    },
    'all': {'pairs__select': 'all', 'pairs__margin': 0.3},
}


@pytest.mark.newest
@pytest.mark.parametrize('arm', [pytest.param('plain', marks=pytest.mark.slow), 'combined'])
def test_four_devices_equal_one(arm):
    assert jax.device_count() == 4
    config = small_config(**ARMS[arm])
    one, one_history = train_steps(config, devices=1)
    four, four_history = train_steps(config, devices=4)
    assert one.step == four.step == 3
    for single, several in zip(one_history, four_history, strict=True):
        assert single.keys() == several.keys()
        for name in single:
            np.testing.assert_allclose(several[name], single[name], rtol=2e-4, err_msg=name)
    for tree in ('params', 'stats'):
        for single, several in zip(
            jax.tree.leaves(getattr(one, tree)), jax.tree.leaves(getattr(four, tree)), strict=True
        ):
            np.testing.assert_allclose(several, single, rtol=1e-3, atol=2e-5)


@pytest.mark.ci
def test_without_synchronised_batch_norm_devices_differ():
    """The comparison above can fail: batch statistics of a quarter are not those of the whole."""
    changes = {'model__sync_batch_norm': False}
    _, one = train_steps(small_config(**changes), devices=1, steps=1)
    _, four = train_steps(small_config(**changes), devices=4, steps=1)
    assert abs(one[0]['loss'] / four[0]['loss'] - 1) > 1e-3


@pytest.mark.ci
def test_a_treatment_of_nothing_is_plain_nt_xent():
    plain, plain_history = train_steps(small_config(), devices=1)
    zero, zero_history = train_steps(small_config(pairs__select='difficult'), devices=1)
    for one, other in zip(plain_history, zero_history, strict=True):
        np.testing.assert_allclose(one['loss'], other['loss'], rtol=1e-6)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), plain.params, zero.params
    )


def test_every_arm_trains_and_differs():
    losses = {}
    for arm, changes in ARMS.items():
        _, history = train_steps(small_config(**changes), devices=1, steps=1)
        losses[arm] = float(history[0]['loss'])
        assert np.isfinite(losses[arm])
        assert ('different_class_share' in history[0]) == (arm != 'plain')
    assert len({round(loss, 4) for loss in losses.values()}) == len(ARMS)
    assert losses['removal'] < losses['plain'] < losses['margin'] < losses['all']


@pytest.mark.ci
@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('spectral', {'pairs__select': 'difficult', 'pairs__margin': 0.1}),
        ('debiased', {}),
        ('hard_negative', {}),
        ('decoupled', {'loss__weight_temperature': 0.5}),
        ('supervised', {}),
    ],
)
def test_every_loss_trains(name, options):
    state, history = train_steps(small_config(loss__name=name, **options), devices=1, steps=1)
    assert np.isfinite(history[0]['loss'])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.ci
@pytest.mark.parametrize('name', ['lars', 'lars_clipped'])
def test_lars_moves_every_kernel_by_no_more_than_its_share(name):
    # At once, and 16 images: a rate of 1, so that the share of `lars` is the trust coefficient.
    config = small_config(optimizer__name=name, optimizer__learning_rate=16.0)
    before, _ = state_and_step(config, mapped=False)
    after, _ = train_steps(config, devices=1, steps=1)
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        if old.ndim > 1:
            share = np.linalg.norm(new - old) / np.linalg.norm(old)
            assert 0 < share <= 0.02 * 1.001
            if name == 'lars':
                np.testing.assert_allclose(share, 0.02, rtol=1e-3)


@pytest.mark.ci
def test_blocks_change_no_step():
    whole, _ = train_steps(small_config(**ARMS['combined']), devices=1, steps=1)
    blocked, _ = train_steps(
        small_config(loss__block_size=8, **ARMS['combined']), devices=1, steps=1
    )
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, whole.params, blocked.params)


def test_selected_share_is_that_of_the_band():
    config = small_config(
        pairs__select='difficult',
        pairs__pos_high=0.1,
        pairs__pos_low=0.5,
        pairs__margin=0.1,
        augment__jitter=1.0,  # with a flip alone two views can be equal, and tie
    )
    _, history = train_steps(config, devices=1, steps=1)
    # 30 negatives: places 4 to 15 of the order, since the 3rd largest is the upper threshold.
    np.testing.assert_allclose(history[0]['selected_share'], 12 / 30, rtol=1e-6)
    assert 0 <= history[0]['different_class_share'] <= 1


def test_the_loss_falls_on_one_batch():
    config = small_config(optimizer__name='adamw', optimizer__learning_rate=0.05)
    state, step = state_and_step(config, mapped=False)
    step, batch = jax.jit(step), random_batch(0, 16)
    losses = []
    for _ in range(40):
        state, metrics = step(state, batch)
        losses.append(float(metrics['loss']))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_a_step_is_pure():
    state, step = state_and_step(small_config(), mapped=False)
    step, batch = jax.jit(step), random_batch(0, 16)
    one, _ = step(state, batch)
    other, _ = step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert int(state.step) == 0
    # Another step draws other views.
    moved, _ = step(state._replace(step=jnp.int32(5)), batch)
    assert any(
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(one.stats), jax.tree.leaves(moved.stats), strict=True)
    )


def test_labels_change_no_parameter():
    config = small_config(**ARMS['margin'])
    state, step = state_and_step(config, mapped=False)
    step, batch = jax.jit(step), random_batch(0, 16)
    with_labels, metrics = step(state, batch)
    without, bare = step(state, batch._replace(labels=None))
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
        with_labels.params,
        without.params,
    )
    assert metrics.keys() - bare.keys() == {'different_class_share'}


@pytest.mark.newest
def test_the_mapped_step_donates_its_state_and_compiles_once():
    state, step = state_and_step(small_config(), mapped=True)
    traces = []

    def counted(state, batch, **options):
        traces.append(1)
        return step(state, batch, **options)

    mapped, batch = map_over_devices(counted), split_over(4, random_batch(0, 16))
    first, _ = mapped(replicate(state), batch)
    second, _ = mapped(first, batch)
    mapped(second, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(second.params))
    assert len(traces) == 1, 'each trace is a compilation'


def _small_variant(name):
    config = load_config(name, 'small')
    channels, size = (1, 8) if config.data.name == 'digits' else (3, 32)
    state, step = state_and_step(config, channels, mapped=False)
    return state, step, random_batch(0, 8, channels, size)


# To compile a ResNet takes ten seconds: most are traced alone.
_STEPPED = ('digits',)
_IN_CI = ('cifar', 'tiny_imagenet', 'stl10', 'folder', 'imagenet')


@pytest.mark.parametrize(
    'name', [*(n for n in VARIANTS if n not in (*_STEPPED, *_IN_CI)), *in_ci(*_IN_CI)]
)
def test_the_small_variant_of_every_config_builds_and_its_step_fits(name):
    state, step, batch = _small_variant(name)
    next_state, metrics = jax.eval_shape(step, state, batch)
    assert metrics['loss'].shape == ()
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(next_state), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)


@pytest.mark.parametrize(
    'name',
    [*_STEPPED, *(pytest.param(n, marks=pytest.mark.slow) for n in VARIANTS if n not in _STEPPED)],
)
def test_the_small_variant_of_every_config_takes_a_step(name):
    state, step, batch = _small_variant(name)
    next_state, metrics = jax.jit(step)(state, batch)
    assert int(next_state.step) == 1
    assert np.isfinite(metrics['loss'])


def test_axis_name_is_the_promised_one():
    assert AXIS == 'devices'
