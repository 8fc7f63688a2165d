"""What holds for every loss: invariances, blocks, devices, finiteness, memory.

Axes: b images, m = 2b rows (view 1, then view 2), d dimensions, c input dimensions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.objectives import (
    debiased,
    decoupled,
    difficult_band,
    hard_negative,
    nt_xent,
    spectral,
    supervised,
)
from tests.objectives.checks import normal, quick_jit

# The lowest temperature in use is the hardest on the arithmetic.
TEMPERATURE = 0.05


def with_band(loss, **treatment):
    def treated(z, features, labels, **options):
        band = difficult_band(features, pos_high=0.1, pos_low=0.6, **options)
        return loss(z, pairs=band, **treatment, **options)

    return treated


def plain(loss, **arguments):
    return lambda z, features, labels, **options: loss(z, **arguments, **options)


LOSSES = {
    'nt_xent': plain(nt_xent, temperature=TEMPERATURE),
    'removal': with_band(nt_xent, temperature=TEMPERATURE, remove=True),
    'combined': with_band(nt_xent, temperature=TEMPERATURE, margin=0.2, temperature_scale=0.7),
    'spectral': plain(spectral),
    'treated spectral': with_band(spectral, margin=0.2, temperature_scale=0.7),
    'debiased': plain(debiased, temperature=TEMPERATURE),
    'hard_negative': plain(hard_negative, temperature=TEMPERATURE),
    'decoupled': plain(decoupled, temperature=TEMPERATURE),
    'weighted decoupled': plain(decoupled, temperature=TEMPERATURE, weight_temperature=0.5),
    'supervised': lambda z, features, labels, **options: supervised(
        z, labels=labels, temperature=TEMPERATURE, **options
    ),
}
every_loss = pytest.mark.parametrize('name', LOSSES)
# One of each kind, where every further one costs seconds.
each_kind = pytest.mark.parametrize(
    'name', ['combined', 'treated spectral', 'hard_negative', 'weighted decoupled', 'supervised']
)


@functools.cache
def compiled(name, block_size=None, jit=quick_jit):
    """`(z, features, labels) -> ((loss, metrics), gradient)`."""
    loss = functools.partial(LOSSES[name], block_size=block_size)
    return jit(jax.value_and_grad(loss, has_aux=True))


def batch(b=12, d=5):
    labels = np.tile(np.arange(b) % 3, 2)
    return jnp.asarray(normal(0, 2 * b, d)), jnp.asarray(normal(1, 2 * b, d)), jnp.asarray(labels)


def assert_close(found, exact, *, rtol=1e-5):
    """Values relative to themselves, gradients to their largest entry."""
    (value, metrics), gradient = found
    (exact_value, exact_metrics), exact_gradient = exact
    np.testing.assert_allclose(value, exact_value, rtol=rtol)
    for name, metric in exact_metrics.items():
        np.testing.assert_allclose(metrics[name], metric, rtol=rtol, atol=1e-6)
    largest = np.max(np.abs(exact_gradient))
    np.testing.assert_allclose(gradient, exact_gradient, atol=rtol * largest, rtol=0)


@every_loss
def test_order_of_images_and_of_views_is_free(name):
    inputs = batch()
    (value, metrics), gradient = compiled(name)(*inputs)
    images = np.random.default_rng(2).permutation(12)
    for order in (np.concatenate([images, images + 12]), np.roll(np.arange(24), 12)):
        moved = compiled(name)(*(array[order] for array in inputs))
        assert_close(moved, ((value, metrics), gradient[order]))


@pytest.mark.parametrize(
    ('name', 'block_size'),
    [(name, 7) for name in LOSSES] + [('combined', size) for size in (16, 24, 100)],
)
def test_blocks_change_nothing(name, block_size):
    inputs = batch()
    assert_close(compiled(name, block_size)(*inputs), compiled(name)(*inputs))


@each_kind
def test_four_devices_equal_one(name):
    """One linear map makes the embeddings; its gradients are averaged, as in a training step."""
    devices, b, c = 4, 3, 6
    inputs = normal(3, 2 * devices * b, c)
    labels = np.tile(np.arange(devices * b) % 3, 2)
    weights = jnp.asarray(normal(4, c, 5))

    def step(weights, inputs, labels, axis_name=None):
        def loss(weights):
            return LOSSES[name](inputs @ weights, inputs, labels, axis_name=axis_name)

        result = jax.value_and_grad(loss, has_aux=True)(weights)
        if axis_name is None:
            return result
        return result[0], jax.lax.pmean(result[1], axis_name)

    one = quick_jit(step)(weights, jnp.asarray(inputs), jnp.asarray(labels))
    # Device v holds view 1 and then view 2 of its own images.
    order = (
        np.arange(2 * devices * b).reshape(2, devices, b).transpose(1, 0, 2).reshape(devices, -1)
    )
    on_devices = jax.pmap(
        functools.partial(step, axis_name='devices'), axis_name='devices', in_axes=(None, 0, 0)
    )(weights, jnp.asarray(inputs[order]), jnp.asarray(labels[order]))
    for device in range(devices):
        assert_close(jax.tree.map(lambda leaf, v=device: leaf[v], on_devices), one, rtol=2e-5)


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        assert np.all(np.isfinite(leaf))


def hard_batches():
    """Batches `[24, 5]` that break careless arithmetic."""
    axis = np.zeros((24, 5), np.float32)
    axis[:, 0] = 1
    signs = np.tile([1, -1], 12)[:, None].astype(np.float32)
    some_zero = normal(5, 24, 5)
    some_zero[[0, 3, 12, 20]] = 0
    opposed = normal(6, 12, 5)
    return {
        'cosines of +1 and -1': axis * signs,
        'views opposed': np.concatenate([opposed, -opposed]),
        'one point': axis,
        'zero rows': some_zero,
        'all zero': 0 * axis,
        'duplicates': np.tile(normal(7, 3, 5), (8, 1)),
        'tiny': some_zero * np.float32(1e-20),
        'huge': some_zero * np.float32(1e17),
    }


@every_loss
def test_value_and_gradient_are_finite(name):
    for z in map(jnp.asarray, hard_batches().values()):
        for labels in (jnp.zeros(24, jnp.int32), jnp.arange(24) % 12):
            assert_finite(compiled(name)(z, z, labels))


@each_kind
def test_one_image_and_two_images(name):
    for b in (1, 2):
        assert_finite(compiled(name)(*batch(b)))


@every_loss
@pytest.mark.parametrize('scale', [1e-20, 1e20])
def test_scale_of_the_rows_is_free(name, scale):
    z, features, labels = batch()
    # The spectral loss compares lengths as well: only rows beyond the clip are free.
    base = z * (100 if 'spectral' in name else 1)
    scale = np.float32(1e17 if 'spectral' in name else scale)
    (value, _), gradient = compiled(name)(base, features, labels)
    (scaled, _), scaled_gradient = compiled(name)(base * scale, features * scale, labels)
    np.testing.assert_allclose(scaled, value, rtol=1e-5)
    largest = np.max(np.abs(gradient))
    # Division first: the product of the two would leave the range of float32.
    np.testing.assert_allclose(
        np.asarray(scaled_gradient, np.float64) * scale, gradient, atol=1e-5 * largest, rtol=0
    )


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('name', ['combined', 'spectral', 'hard_negative', 'supervised'])
def test_half_precision_is_computed_in_float32(name, dtype):
    z, features, labels = batch()
    z, features = z.astype(dtype), features.astype(dtype)
    (value, metrics), gradient = compiled(name)(z, features, labels)
    assert gradient.dtype == dtype
    assert {leaf.dtype for leaf in (value, *metrics.values())} == {jnp.dtype('float32')}
    (exact, _), _ = compiled(name)(z.astype(jnp.float32), features.astype(jnp.float32), labels)
    np.testing.assert_allclose(value, exact, rtol=1e-6)


@pytest.mark.parametrize('name', ['combined', 'treated spectral', 'hard_negative'])
def test_blocks_bound_the_memory(name):
    """No array of all pairs in blocks; without them there is one."""
    m, d = 4096, 16
    inputs = (
        jax.ShapeDtypeStruct((m, d), jnp.float32),
        jax.ShapeDtypeStruct((m, d), jnp.float32),
        jax.ShapeDtypeStruct((m,), jnp.int32),
    )
    traced = compiled(name, 16, jax.jit).trace(*inputs)
    assert f'{m},{m}' not in str(traced.jaxpr)
    temporary = traced.lower().compile().memory_analysis().temp_size_in_bytes
    assert temporary < 4 * m * m / 16
    assert f'{m},{m}' in str(compiled(name, m).trace(*inputs).jaxpr)


def test_a_large_batch_takes_a_sixteenth_of_its_matrix_by_default():
    """8,192 images of 128 dimensions, selection, loss and gradient in one program."""
    m, d = 2 * 8192, 128
    rows = jax.ShapeDtypeStruct((m, d), jnp.float32)
    labels = jax.ShapeDtypeStruct((m,), jnp.int32)
    program = compiled('combined', None, jax.jit).lower(rows, rows, labels).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * m * m / 16


@pytest.mark.parametrize('name', ['combined', 'spectral'])
@pytest.mark.parametrize('rows', [0, 3])
def test_rows_that_are_not_two_views_are_refused(name, rows):
    z = jnp.ones((rows, 2))
    with pytest.raises(ValueError, match=f'{rows} rows'):
        LOSSES[name](z, z, jnp.zeros(rows, jnp.int32))


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_a_temperature_of_half_precision_is_learnt(dtype):
    rows = jnp.asarray(normal(0, 8, 4))

    def loss(temperature):
        return nt_xent(rows, temperature=temperature)[0]

    gradient = jax.grad(loss)(dtype(0.5))
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, jax.grad(loss)(jnp.float32(0.5)), rtol=2e-2)


@pytest.mark.parametrize('kind', [float, np.float32, jnp.float32])
def test_no_kind_of_number_hides_a_negative_temperature(kind):
    with pytest.raises(ValueError, match=r'temperature=-0\.5: must be above 0'):
        nt_xent(jnp.ones((4, 2)), temperature=kind(-0.5))


@pytest.mark.parametrize(
    'number', [{'temperature': 1e-39}, {'temperature_scale': 1e39}, {'margin': 1e39}]
)
def test_a_number_that_float32_does_not_hold_is_refused(number):
    with pytest.raises(ValueError, match=f'{next(iter(number))}=.* finite, as float32'):
        nt_xent(jnp.ones((4, 2)), **({'temperature': 0.5} | number))


def test_a_temperature_that_jit_closes_over_is_taken_or_refused():
    rows, good, bad = jnp.asarray(normal(0, 8, 4)), jnp.float32(0.5), jnp.float32(-0.5)
    found = jax.jit(lambda x: nt_xent(x, temperature=good)[0])(rows)
    np.testing.assert_allclose(found, nt_xent(rows, temperature=0.5)[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r'temperature=-0\.5: must be above 0'):
        jax.jit(lambda x: nt_xent(x, temperature=bad)[0])(rows)
