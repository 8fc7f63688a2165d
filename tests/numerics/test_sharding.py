"""Many devices as JAX spells them today: `shard_map`, global arrays, meshes with explicit axes.

Axes: b images, m = 2b rows (view 1, then view 2), d dimensions, n rows of a queue.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from contrastive_jax import objectives
from contrastive_jax.ebt.thinking import think, thinking_loss
from contrastive_jax.evaluation.knn import VotingRule, knn_predict
from contrastive_jax.graph import isolation, sample_difficulty
from contrastive_jax.graph.class_cosines import cosines_by_class
from contrastive_jax.objectives import (
    different_class_share,
    difficult_band,
    difficult_pairs,
    info_nce,
    nt_xent,
    queue_band,
    queue_different_class_share,
)
from contrastive_jax.training.devices import AXIS
from tests.helpers import random_batch, small_config, state_and_step
from tests.marks import in_ci
from tests.objectives.checks import normal, quick_jit
from tests.objectives.test_losses import LOSSES, TEMPERATURE, assert_close, batch

DEVICES = 4
SPREAD = P(AXIS)
QUEUE = normal(8, 16, 5)
PERCENTILES = {'pos_high': 0.1, 'pos_low': 0.6}


def matrix(z, features, labels, **options):
    pairs = difficult_pairs(features, **PERCENTILES, **options)
    return nt_xent(z, temperature=TEMPERATURE, pairs=pairs, remove=True, **options)


def every_pair(z, features, labels, **options):
    return nt_xent(z, temperature=TEMPERATURE, pairs='all', margin=0.2, **options)


def queue(z, features, labels, *, axis_name=None, block_size=None):
    band = queue_band(features, jnp.asarray(QUEUE), **PERCENTILES, block_size=block_size)
    return info_nce(
        z,
        features,
        jnp.asarray(QUEUE),
        temperature=TEMPERATURE,
        pairs=band,
        margin=0.2,
        axis_name=axis_name,
        block_size=block_size,
    )


def class_shares(z, features, labels, **options):
    band = difficult_band(features, **PERCENTILES, **options)
    in_queue = queue_band(features, jnp.asarray(QUEUE), **PERCENTILES)
    queue_labels = jnp.arange(len(QUEUE)) % 3
    loss, metrics = nt_xent(z, temperature=TEMPERATURE, pairs=band, **options)
    return loss, {
        **metrics,
        'band': different_class_share(band, labels, **options),
        'all': different_class_share('all', labels, **options),
        'queue': queue_different_class_share(in_queue, labels, queue_labels, **options),
    }


CASES = {**LOSSES, 'matrix': matrix, 'all': every_pair, 'queue': queue, 'shares': class_shares}
REPRESENTATIVE = ('combined', 'treated spectral', 'weighted decoupled', 'queue', 'shares')
# Device v holds view 1 and then view 2 of its own images.
ORDER = np.arange(24).reshape(2, DEVICES, 3).transpose(1, 0, 2).reshape(-1)


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((DEVICES,), (AXIS,), axis_types=(kind,))


def place(tree, on, spec=SPREAD):
    return jax.device_put(tree, NamedSharding(on, spec))


def loss_and_gradient(name, block_size=None, **options):
    case = functools.partial(CASES[name], block_size=block_size, **options)
    return jax.value_and_grad(case, has_aux=True)


@functools.cache
def on_one_device(name):
    return jax.device_get(quick_jit(loss_and_gradient(name))(*batch()))


def in_device_order(name):
    values, gradient = on_one_device(name)
    return values, gradient[ORDER]


@pytest.mark.newest
@pytest.mark.parametrize(
    ('name', 'block_size'),
    [
        *((name, None) for name in REPRESENTATIVE),
        *in_ci(*((name, None) for name in CASES if name not in REPRESENTATIVE)),
        ('combined', 2),
        ('queue', 2),
    ],
)
def test_shard_map_equals_one_device(name, block_size):
    """The gradient is taken on each device, and is that of the mean over all of them."""
    step = jax.shard_map(
        loss_and_gradient(name, block_size, axis_name=AXIS),
        mesh=mesh(),
        in_specs=P(AXIS),
        out_specs=(P(), P(AXIS)),
    )
    rows = place([array[ORDER] for array in batch()], mesh())
    assert_close(quick_jit(step)(*rows), in_device_order(name), rtol=2e-5)


@pytest.mark.parametrize('check_vma', [True, False])
@pytest.mark.parametrize('name', ['combined', 'queue'])
def test_gradient_of_a_shard_map_equals_one_device(name, check_vma):
    loss = jax.shard_map(
        functools.partial(CASES[name], axis_name=AXIS),
        mesh=mesh(),
        in_specs=P(AXIS),
        out_specs=P(),
        check_vma=check_vma,
    )
    rows = place([array[ORDER] for array in batch()], mesh())
    found = quick_jit(jax.value_and_grad(loss, has_aux=True))(*rows)
    assert_close(found, in_device_order(name), rtol=2e-5)


@pytest.mark.parametrize('check_vma', [True, False])
def test_averaged_gradients_of_parameters_are_right_in_both_kinds_of_shard_map(check_vma):
    """As in a training step, whose parameters are the same on all devices."""
    inputs, weights = normal(3, 24, 6), jnp.asarray(normal(4, 6, 5))

    def gradient(weights, inputs, axis_name=None):
        def loss(weights):
            return nt_xent(inputs @ weights, temperature=TEMPERATURE, axis_name=axis_name)[0]

        found = jax.grad(loss)(weights)
        return found if axis_name is None else jax.lax.pmean(found, axis_name)

    step = jax.shard_map(
        functools.partial(gradient, axis_name=AXIS),
        mesh=mesh(),
        in_specs=(P(), P(AXIS)),
        out_specs=P(),
        check_vma=check_vma,
    )
    exact = quick_jit(gradient)(weights, jnp.asarray(inputs))
    found = quick_jit(step)(weights, place(inputs[ORDER], mesh()))
    np.testing.assert_allclose(found, exact, atol=2e-5 * np.max(np.abs(exact)), rtol=0)


@pytest.mark.newest
@pytest.mark.parametrize(
    'kind', [*in_ci(AxisType.Auto), AxisType.Explicit], ids=['auto', 'explicit']
)
@pytest.mark.parametrize(
    ('name', 'block_size'),
    [(name, None) for name in REPRESENTATIVE] + [('matrix', 2), ('queue', 2)],
)
def test_a_global_array_equals_one_device(name, block_size, kind):
    """Rows spread over the devices, and no mapped axis: the compiler sees to the rest."""
    on = mesh(kind)
    rows = place(batch(), on)
    with jax.set_mesh(on):
        found = quick_jit(loss_and_gradient(name, block_size))(*rows)
    assert_close(found, on_one_device(name), rtol=2e-5)
    # Without a mesh in the context it is that of the arrays.
    value, _ = quick_jit(functools.partial(CASES[name], block_size=block_size))(*rows)
    np.testing.assert_allclose(value, on_one_device(name)[0][0], rtol=2e-5)


def test_one_explicit_axis_beside_another():
    """Rows on the explicit one; the gradient is that of a learnt temperature."""
    on = jax.make_mesh((2, 2), (AXIS, 'model'), axis_types=(AxisType.Explicit, AxisType.Auto))
    z, _, _ = batch(b=12, d=4)

    def slope(temperature, z):
        return jax.grad(lambda t: nt_xent(z, temperature=t, pairs='all', margin=t)[0])(temperature)

    exact = quick_jit(slope)(jnp.float32(0.2), z)
    with jax.set_mesh(on):
        found = quick_jit(slope)(jnp.float32(0.2), place(z, on))
    np.testing.assert_allclose(found, exact, rtol=2e-5)


def difficulty(features, labels, queries, **options):
    return sample_difficulty(features, pos_high=0.1, pos_low=0.5, **options)


def isolated(features, labels, queries, **options):
    return isolation(features, near=0.1, **options)


def predicted(features, labels, queries, axis_name=None, **options):
    rules = (VotingRule(5), VotingRule(3, 0.1))
    return knn_predict(features, labels, queries, num_classes=3, rules=rules, **options)


@pytest.mark.newest
@pytest.mark.parametrize('function', [difficulty, isolated, predicted])
@pytest.mark.parametrize('where', ['shard_map', 'auto', 'explicit'])
def test_a_whole_data_set_over_devices_equals_one(function, where):
    inputs = (normal(0, 24, 6), np.arange(24) % 3, normal(1, 16, 6))
    exact = function(*map(jnp.asarray, inputs))
    on = mesh(AxisType.Explicit if where == 'explicit' else AxisType.Auto)
    # Every device needs all neighbours of its own queries.
    specs = (P(), P(), P(AXIS)) if function is predicted else (P(AXIS), P(), P())
    placed = [place(array, on, spec) for array, spec in zip(inputs, specs, strict=True)]
    if where == 'shard_map':
        mapped = functools.partial(function, axis_name=AXIS, block_size=2)
        found = jax.shard_map(mapped, mesh=on, in_specs=specs, out_specs=P(AXIS))(*placed)
    else:
        with jax.set_mesh(on):
            found = function(*placed, block_size=2)
    # Means and differences of cosines: rounding is that of numbers near 1.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), found, exact)


@pytest.mark.parametrize('kind', [*in_ci(AxisType.Auto), AxisType.Explicit])
def test_cosines_by_class_over_devices_equal_one(kind):
    features, labels = normal(0, 24, 6), np.arange(24) % 3
    options = {'pos_high': 0.1, 'pos_low': 0.5}
    exact = cosines_by_class(jnp.asarray(features), jnp.asarray(labels), **options)
    with jax.set_mesh(mesh(kind)):
        found = cosines_by_class(place(features, mesh(kind)), place(labels, mesh(kind)), **options)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), found, exact)


@pytest.mark.parametrize('where', ['shard_map', 'explicit'])
def test_thinking_over_devices_equals_one(where):
    weights, states = jnp.asarray(normal(2, 1, 6)), normal(0, 24, 6)

    def loss(weights, states, axis_name=None):
        thought = think(
            lambda y: jnp.sum(jnp.square(y * weights), axis=-1), states, steps=3, step_size=0.01
        )
        return thinking_loss(thought.trajectory, jnp.ones_like(states), axis_name=axis_name)[0]

    exact = quick_jit(jax.value_and_grad(loss))(weights, jnp.asarray(states))
    on = mesh(AxisType.Explicit if where == 'explicit' else AxisType.Auto)
    mapped = functools.partial(loss, axis_name=AXIS)
    if where == 'shard_map':
        loss = jax.shard_map(mapped, mesh=on, in_specs=(P(), P(AXIS)), out_specs=P())
    with jax.set_mesh(on):
        found = quick_jit(jax.value_and_grad(loss))(weights, place(states, on))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5), found, exact)


@pytest.mark.ci
@pytest.mark.newest
def test_a_training_step_in_a_shard_map_equals_one_device():
    config = small_config(pairs__select='difficult', pairs__margin=0.2)
    images = random_batch(0, config.batch_size)
    state, step = state_and_step(config, mapped=False)
    one, metrics = quick_jit(step)(state, images)

    state, step = state_and_step(config, mapped=True)
    sharded = jax.shard_map(
        functools.partial(step, axis_name=AXIS),
        mesh=mesh(),
        in_specs=(P(), P(AXIS)),
        out_specs=P(),
    )
    four, several = quick_jit(sharded)(state, place(images, mesh()))
    assert int(four.step) == 1
    for some, others in ((several, metrics), (four.params, one.params)):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-5), some, others
        )


@pytest.mark.parametrize('loss', ['spectral', *in_ci('nt_xent', 'decoupled')])
def test_losses_over_devices_take_64_bits(loss):
    """The index of a device has 32 bits in every mode, and types may not be mixed."""
    with jax.enable_x64(True):
        rows = jnp.asarray(np.random.default_rng(0).normal(size=(16, 4)), jnp.float32)
        numbers = {} if loss == 'spectral' else {'temperature': 0.5}
        function = getattr(objectives, loss)

        def mapped(rows):
            return function(rows, **numbers, axis_name=AXIS)[0]

        found = jax.shard_map(mapped, mesh=mesh(), in_specs=SPREAD, out_specs=P())(rows)
        # As `shard_map` orders them: view 1 of each device, and then its view 2.
        order = np.arange(16).reshape(DEVICES, 2, 2).transpose(1, 0, 2).ravel()
        np.testing.assert_allclose(found, function(rows[order], **numbers)[0], rtol=1e-5)
        scores = jax.shard_map(
            lambda rows: isolation(rows, near=0.3, axis_name=AXIS),
            mesh=mesh(),
            in_specs=SPREAD,
            out_specs=SPREAD,
        )(rows)
        np.testing.assert_allclose(scores, isolation(rows, near=0.3), atol=1e-6)
