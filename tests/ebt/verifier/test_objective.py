import jax
import jax.numpy as jnp
import numpy as np

from contrastive_jax.ebt.verifier.objective import (
    compatibility_loss,
    pair_nce,
    thinking_start,
    verification_loss,
)
from tests.objectives.checks import normal

ENERGIES = 3 * normal(0, 5, 4)


def _nce(energies):
    logits = -np.asarray(energies, np.float64)
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[:, 0])


def _bce(energies, targets, offset):
    p = 1 / (1 + np.exp(np.asarray(energies, np.float64) - offset))
    return -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))


def test_nce_equals_its_formula():
    np.testing.assert_allclose(pair_nce(jnp.asarray(ENERGIES)), _nce(ENERGIES), rtol=1e-5)


def test_nce_does_not_see_a_shift_of_all_energies_of_an_anchor():
    shifted = ENERGIES + 7 * normal(1, 5, 1)
    found = [pair_nce(jnp.asarray(x)) for x in (ENERGIES, shifted)]
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_nce_does_not_see_the_order_of_negatives():
    found = pair_nce(jnp.asarray(ENERGIES[:, [0, 3, 1, 2]]))
    np.testing.assert_allclose(found, _nce(ENERGIES), rtol=1e-5)


def test_compatibility_equals_its_formula_for_soft_targets():
    targets = np.random.default_rng(2).random((5, 4)).astype(np.float32)
    found = compatibility_loss(jnp.asarray(ENERGIES), jnp.asarray(targets), offset=-0.5)
    np.testing.assert_allclose(found, _bce(ENERGIES, targets, -0.5), rtol=1e-5)


def test_compatibility_is_least_where_the_probability_is_the_target():
    targets = jnp.linspace(0.1, 0.9, 9)
    energies = 0.3 - jnp.log(targets / (1 - targets))
    slope = jax.grad(lambda x: compatibility_loss(x, targets, offset=0.3))(energies)
    np.testing.assert_allclose(slope, np.zeros(9), atol=1e-7)


def test_the_whole_is_the_weighted_sum_of_its_terms():
    residuals, mixed = normal(3, 5, 4), normal(4, 5)
    mixing = np.random.default_rng(5).random(5).astype(np.float32)
    loss, terms = verification_loss(
        *map(jnp.asarray, (ENERGIES, residuals, mixed)),
        mixing=jnp.asarray(mixing),
        offset=-1.0,
        thinking=0.25,
    )
    targets = np.tile(np.float64([1, 0, 0, 0]), (5, 1))
    expected = _nce(ENERGIES) + 0.5 * _bce(ENERGIES, targets, -1) + 0.25
    expected += 0.5 * _bce(mixed, mixing, -1) + 1e-3 * np.mean(residuals**2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert set(terms) == {'nce', 'bce', 'mix', 'thinking', 'penalty'}


def test_extreme_energies_stay_finite():
    energies = jnp.asarray(1e4 * np.sign(ENERGIES))

    def loss(energies):
        ones = jnp.ones(5)
        return verification_loss(
            energies,
            energies,
            energies[:, 0],
            mixing=ones,
            offset=0.0,
        )[0]

    value, slope = jax.value_and_grad(loss)(energies)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_thinking_starts_between_target_and_something_else():
    y, u = jnp.asarray(normal(6, 3, 2, 4)), jnp.asarray(normal(7, 3, 2, 4))
    found = thinking_start(y, u, jnp.asarray([0.0, 0.36, 1.0]))
    np.testing.assert_array_equal(found[0], u[0])
    np.testing.assert_allclose(found[1], 0.6 * y[1] + 0.8 * u[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[2], y[2])
    slope = jax.grad(lambda y: jnp.sum(thinking_start(y, u, jnp.full(3, 0.5))))(y)
    np.testing.assert_array_equal(slope, np.zeros_like(y))
