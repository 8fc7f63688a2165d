"""The compared losses against float64 references and each other. Axes: m rows, d dimensions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.objectives import debiased, decoupled, hard_negative, nt_xent, supervised
from contrastive_jax.objectives.baselines import _log_difference
from tests.objectives import references
from tests.objectives.checks import (
    assert_equals_reference,
    normal,
    quick_jit,
    value_and_gradient,
)

temperatures = pytest.mark.parametrize('temperature', [0.05, 0.5])


def aligned(seed, m, d):
    """Rows whose two views are close, so that the correction for false negatives bites."""
    first = normal(seed, m // 2, d)
    return np.concatenate([first, first + 0.3 * normal(seed + 1, m // 2, d)])


def assert_same(first, second, *, rtol=5e-6):
    """Value and gradient of two compiled losses agree."""
    (value, _), gradient = first
    (exact, _), exact_gradient = second
    np.testing.assert_allclose(value, exact, rtol=rtol)
    largest = np.max(np.abs(exact_gradient))
    np.testing.assert_allclose(gradient, exact_gradient, atol=rtol * largest, rtol=0)


class TestHardNegative:
    @temperatures
    @pytest.mark.parametrize(
        ('tau_plus', 'beta'), [(0.0, 1.0), (0.02, 0.0), (0.02, 1.0), (0.4, 2.5)]
    )
    def test_equals_reference(self, temperature, tau_plus, beta):
        # Some anchors are at the floor, others above it.
        options = {'temperature': temperature, 'tau_plus': tau_plus, 'beta': beta}
        assert_equals_reference(
            functools.partial(hard_negative, **options),
            lambda z: references.hard_negative(z, **options),
            aligned(0, 10, 3),
        )

    def test_debiased_is_without_concentration(self):
        z = aligned(2, 12, 4)
        options = {'temperature': 0.3, 'tau_plus': 0.1}
        assert_same(
            value_and_gradient(debiased, z, **options),
            value_and_gradient(hard_negative, z, beta=0.0, **options),
            rtol=1e-7,
        )

    @temperatures
    def test_without_any_correction_it_is_nt_xent(self, temperature):
        z = aligned(4, 12, 4)
        assert_same(
            value_and_gradient(hard_negative, z, temperature=temperature, tau_plus=0.0, beta=0.0),
            value_and_gradient(nt_xent, z, temperature=temperature),
        )

    def test_the_floor_holds_where_all_positives_are_perfect(self):
        z = np.tile(normal(5, 6, 4), (2, 1))
        (value, _), gradient = value_and_gradient(
            hard_negative, z, temperature=0.05, tau_plus=0.5, beta=0.0
        )
        # p = e^20 beats the negatives of every anchor: G = N e^-20.
        np.testing.assert_allclose(value, np.log1p(10 * np.exp(-40.0)), rtol=1e-4)
        assert np.all(np.isfinite(gradient))

    @pytest.mark.parametrize(
        ('a', 'b', 'slopes'),
        [
            (0.0, 0.0, (0, 0)),
            (-1.0, 2.0, (0, 0)),
            (-np.inf, 0.5, (0, 0)),
            (2.0, -np.inf, (1, 0)),
            (1.0, 0.0, (np.e / (np.e - 1), -1 / (np.e - 1))),
            (60.0, -60.0, (1, 0)),
        ],
    )
    def test_log_of_a_difference(self, a, b, slopes):
        value, gradient = jax.value_and_grad(_log_difference, argnums=(0, 1))(
            *map(jnp.float32, (a, b))
        )
        exact = a + np.log1p(-np.exp(b - a)) if a > b else -np.inf
        np.testing.assert_allclose(value, exact, rtol=1e-6)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-30)

    @pytest.mark.parametrize(
        'wrong', [{'temperature': 0.0}, {'tau_plus': 1.0}, {'tau_plus': -0.1}, {'beta': -1.0}]
    )
    def test_what_is_out_of_range_is_refused(self, wrong):
        (name,) = wrong
        with pytest.raises(ValueError, match=f'{name}='):
            hard_negative(jnp.ones((4, 2)), **{'temperature': 0.5, **wrong})


class TestDecoupled:
    @temperatures
    @pytest.mark.parametrize('weight_temperature', [None, 0.5, 0.1])
    def test_equals_reference(self, temperature, weight_temperature):
        z = aligned(6, 10, 3)
        weights = (
            np.ones(5)
            if weight_temperature is None
            else references.decoupled_weights(z, weight_temperature)
        )
        assert_equals_reference(
            functools.partial(
                decoupled, temperature=temperature, weight_temperature=weight_temperature
            ),
            lambda z: references.decoupled(z, temperature, weights),
            z,
        )

    def test_nt_xent_only_adds_the_positive_to_the_denominator(self):
        """For each anchor NT-Xent is `log(1 + e^DCL)`; at equal anchors so are the means."""
        z = np.array([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [-0.6, -0.8]], np.float32)
        (dcl, _), _ = value_and_gradient(decoupled, z, temperature=0.3)
        (plain, _), _ = value_and_gradient(nt_xent, z, temperature=0.3)
        np.testing.assert_allclose(plain, np.log1p(np.exp(dcl)), rtol=1e-6)

    def test_equal_positives_have_equal_weights(self):
        z = np.tile(normal(7, 6, 4), (2, 1))
        assert_same(
            value_and_gradient(decoupled, z, temperature=0.3, weight_temperature=0.5),
            value_and_gradient(decoupled, z, temperature=0.3),
        )

    @pytest.mark.parametrize('name', ['temperature', 'weight_temperature'])
    def test_what_is_not_positive_is_refused(self, name):
        with pytest.raises(ValueError, match=f'{name}='):
            decoupled(jnp.ones((4, 2)), **{'temperature': 0.5, name: 0.0})


class TestSupervised:
    @temperatures
    @pytest.mark.parametrize('classes', [1, 2, 5])
    def test_equals_reference(self, temperature, classes):
        labels = np.tile(np.arange(5) % classes, 2)
        assert_equals_reference(
            functools.partial(supervised, labels=jnp.asarray(labels), temperature=temperature),
            lambda z: references.supervised(z, labels, temperature),
            aligned(8, 10, 3),
        )

    @temperatures
    def test_with_every_image_its_own_class_it_is_nt_xent(self, temperature):
        z = aligned(9, 12, 4)
        labels = jnp.asarray(np.tile(np.random.default_rng(0).permutation(6), 2))
        assert_same(
            value_and_gradient(supervised, z, labels=labels, temperature=temperature),
            value_and_gradient(nt_xent, z, temperature=temperature),
        )

    def test_temperature_that_is_not_positive_is_refused(self):
        with pytest.raises(ValueError, match='temperature='):
            supervised(jnp.ones((4, 2)), labels=jnp.zeros(4, jnp.int32), temperature=0.0)

    @pytest.mark.usefixtures('unchecked_types')
    @pytest.mark.parametrize('labels', [jnp.zeros(3, int), jnp.zeros((4, 1), int), jnp.zeros(4)])
    def test_labels_that_are_not_an_integer_for_each_row_are_refused(self, labels):
        with pytest.raises(ValueError, match=r'labels of shape .* need \(4,\) integers'):
            supervised(jnp.ones((4, 2)), labels=labels, temperature=0.5)


def test_no_gradient_flows_through_the_weights_of_dclw():
    """Where only the positive of one image moves, the slope of its loss is its weight's."""
    z = jnp.asarray(aligned(10, 8, 3))
    gradient = quick_jit(
        jax.grad(lambda z: decoupled(z, temperature=0.5, weight_temperature=0.2)[0])
    )(z)
    moving = references.finite_differences(
        lambda z: references.decoupled(z, 0.5, references.decoupled_weights(z, 0.2)), z
    )
    assert np.max(np.abs(gradient - moving)) > 1e-2
