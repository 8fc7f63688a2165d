"""NT-Xent and its arms against float64 references. Axes: m rows, d dimensions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from contrastive_jax.objectives import difficult_band, difficult_pairs, nt_xent, spectral
from tests.objectives import references
from tests.objectives.checks import (
    assert_equals_reference,
    normal,
    quick_jit,
    value_and_gradient,
)

ARMS = {
    'baseline': {},
    'removal': {'pairs': 'band', 'remove': True},
    'margin': {'pairs': 'band', 'margin': 0.3},
    'temperature': {'pairs': 'band', 'temperature_scale': 0.7},
    'combined': {'pairs': 'band', 'margin': 0.2, 'temperature_scale': 0.6},
    'all, margin': {'pairs': 'all', 'margin': 0.3},
    'all, temperature': {'pairs': 'all', 'temperature_scale': 0.7},
    'removal, treated': {'pairs': 'band', 'remove': True, 'margin': 0.2, 'temperature_scale': 0.6},
}
BAND = {'pos_high': 0.2, 'pos_low': 0.7}


def arm_options(arm, features):
    """The options of an arm for the package and for the reference."""
    ours, exact = dict(ARMS[arm]), dict(ARMS[arm])
    if ours.get('pairs') == 'band':
        ours['pairs'] = quick_jit(functools.partial(difficult_band, **BAND))(jnp.asarray(features))
        exact['pairs'] = references.difficult_pairs(features, **BAND)
    elif ours.get('pairs') == 'all':
        exact['pairs'] = references.all_negatives(len(features))
    return ours, exact


@pytest.mark.parametrize('temperature', [0.05, 0.5])
@pytest.mark.parametrize('arm', ARMS)
def test_value_equals_reference_and_gradient_three_ways(arm, temperature):
    z, features = normal(0, 10, 4), normal(1, 10, 6)
    ours, exact = arm_options(arm, features)
    metrics, gradient = assert_equals_reference(
        functools.partial(nt_xent, temperature=temperature, **ours),
        lambda z: references.nt_xent(z, temperature, **exact),
        z,
    )
    closed_form = references.nt_xent_gradient(z, temperature, **exact)
    largest = np.max(np.abs(closed_form))
    np.testing.assert_allclose(gradient, closed_form, atol=1e-5 * largest, rtol=0)
    s = references.similarities(z)
    positives = [s[i, references.positive_of(i, 10)] for i in range(10)]
    np.testing.assert_allclose(metrics['positive_similarity'], np.mean(positives), rtol=1e-5)
    pairs = exact.get('pairs', np.zeros((10, 10)))
    np.testing.assert_allclose(metrics['selected_share'], np.sum(pairs) / 80, rtol=1e-6)


@given(
    images=st.sampled_from([1, 2, 6]),
    seed=st.integers(0, 2**16),
    margin=st.floats(0, 1),
    temperature_scale=st.floats(0.1, 2),
    remove=st.booleans(),
)
@settings(max_examples=8, deadline=None)
def test_any_batch_and_any_matrix(images, seed, margin, temperature_scale, remove):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((2 * images, 3)).astype(np.float32)
    # Marks on the anchor itself and on its positive must not count.
    pairs = rng.random((2 * images, 2 * images)) < 0.4
    options = {'margin': margin, 'temperature_scale': temperature_scale, 'remove': remove}
    loss = functools.partial(nt_xent, temperature=0.5, pairs=jnp.asarray(pairs), **options)
    value, _ = quick_jit(loss)(jnp.asarray(z))
    exact = references.nt_xent(z, 0.5, pairs, **options)
    np.testing.assert_allclose(value, exact, rtol=5e-6, atol=1e-7)


def test_agrees_with_optax():
    z = jnp.asarray(normal(2, 12, 5))
    # optax promotes a boolean to an integer, which the tests otherwise forbid.
    with jax.numpy_dtype_promotion('standard'):
        exact = jax.jit(jax.value_and_grad(optax.losses.ntxent))(z, jnp.arange(12) % 6, 0.3)
    (value, _), gradient = value_and_gradient(nt_xent, z, temperature=0.3)
    np.testing.assert_allclose(value, exact[0], rtol=2e-6)
    np.testing.assert_allclose(gradient, exact[1], atol=2e-6)


@pytest.mark.parametrize(
    'treatment',
    [
        {'pairs': 'all', 'margin': 0.0, 'temperature_scale': 1.0},
        {'pairs': None, 'margin': 0.5, 'temperature_scale': 0.5, 'remove': True},
        {'pairs': jnp.zeros((8, 8), bool), 'margin': 0.5, 'remove': True},
    ],
    ids=['no strength', 'no pairs', 'empty matrix'],
)
def test_zero_treatment_is_plain(treatment):
    z = normal(3, 8, 4)
    (plain, _), plain_gradient = value_and_gradient(nt_xent, z, temperature=0.2)
    (treated, _), gradient = value_and_gradient(nt_xent, z, temperature=0.2, **treatment)
    np.testing.assert_allclose(treated, plain, rtol=1e-6)
    np.testing.assert_allclose(gradient, plain_gradient, atol=1e-6)


def test_band_equals_matrix():
    z, features = normal(4, 16, 4), jnp.asarray(normal(5, 16, 4))
    results = [
        value_and_gradient(
            nt_xent,
            z,
            temperature=0.2,
            pairs=quick_jit(functools.partial(select, **BAND))(features),
            margin=0.3,
        )
        for select in (difficult_band, difficult_pairs)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *results)


@pytest.mark.parametrize('treatment', [{'margin': 0.1}, {'temperature_scale': 0.7}])
def test_treatments_push_a_selected_pair_apart_harder(treatment):
    z = np.abs(normal(6, 8, 4))  # All cosines are positive.
    pairs = np.zeros((8, 8), bool)
    pairs[0, 1] = True
    towards = references.unit(z[1].astype(np.float64))
    _, treated = value_and_gradient(
        nt_xent, z, temperature=0.5, pairs=jnp.asarray(pairs), **treatment
    )
    plain = references.nt_xent_gradient(z, 0.5)
    assert -treated[0] @ towards < -plain[0] @ towards


def test_an_anchor_without_negatives_loses_nothing():
    (value, _), gradient = value_and_gradient(
        nt_xent, normal(7, 8, 4), temperature=0.05, pairs='all', remove=True
    )
    assert value == 0
    assert np.all(np.asarray(gradient) == 0)


@pytest.mark.parametrize('value', [0.0, -0.5, float('nan')])
@pytest.mark.parametrize('name', ['temperature', 'temperature_scale'])
def test_what_is_not_positive_is_refused(name, value):
    with pytest.raises(ValueError, match=f'{name}='):
        nt_xent(jnp.ones((4, 2)), **{'temperature': 0.5, name: value})


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('temperature', np.linspace(0.1, 1, 8)),
        ('temperature', np.array([0.5])),
        ('temperature', '0.5'),
        ('temperature', float('inf')),
        ('margin', np.full((8, 8), 0.1)),
        ('margin', jnp.array([0.1])),
        ('margin', float('inf')),
        ('temperature_scale', jnp.ones(8)),
    ],
)
def test_what_is_no_single_number_is_refused(name, value):
    # It would broadcast, and give another loss.
    def loss(value):
        return nt_xent(jnp.eye(8), pairs='all', **{'temperature': 0.5, name: value})

    with pytest.raises(ValueError, match=f'{name}='):
        loss(value)
    if getattr(value, 'shape', ()):
        with pytest.raises(ValueError, match='need one number'):
            jax.eval_shape(loss, value)


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize('kind', [float, np.float32])
def test_pairs_that_are_no_mask_are_refused(kind):
    with pytest.raises(ValueError, match='need True where a pair is selected'):
        nt_xent(jnp.eye(8), temperature=0.5, pairs=np.full((8, 8), 0.3, kind), margin=0.1)
    chosen = np.arange(64).reshape(8, 8) % 3 == 0
    values = [
        nt_xent(jnp.eye(8), temperature=0.5, pairs=pairs, margin=0.1)[0]
        for pairs in (chosen, chosen.astype(int))
    ]
    assert values[0] == values[1]


@pytest.mark.usefixtures('unchecked_types')
def test_a_parameter_of_a_model_may_be_the_temperature():
    class Model(nnx.Module):
        def __init__(self):
            self.temperature = nnx.Param(jnp.float32(0.5))

    def loss(model):
        return nt_xent(jnp.asarray(normal(0, 4, 3)), temperature=model.temperature)[0]

    gradient = nnx.jit(nnx.grad(loss))(Model())
    plain = jax.grad(lambda t: nt_xent(jnp.asarray(normal(0, 4, 3)), temperature=t)[0])(0.5)
    np.testing.assert_allclose(gradient.temperature[...], plain, rtol=1e-5)


@pytest.mark.parametrize('value', [-0.1, float('nan')])
@pytest.mark.parametrize('loss', [nt_xent, spectral])
def test_a_negative_margin_is_refused(loss, value):
    temperature = {'temperature': 0.5} if loss is nt_xent else {}
    with pytest.raises(ValueError, match='margin='):
        loss(jnp.ones((4, 2)), margin=value, **temperature)
