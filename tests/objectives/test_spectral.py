"""The spectral loss and its treatments. Axes: m rows, d dimensions, v vertices of a graph."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.objectives import spectral
from tests.objectives import references
from tests.objectives.checks import (
    assert_equals_reference,
    normal,
    quick_jit,
    value_and_gradient,
)

ARMS = {
    'baseline': {},
    'removal': {'remove': True},
    'margin': {'margin': 0.3},
    'temperature': {'temperature_scale': 0.7},
    'combined': {'margin': 0.2, 'temperature_scale': 0.6},
}


@pytest.mark.parametrize('mu', [0.3, 1.0, 4.0, 100.0])
def test_baseline_equals_reference(mu):
    z = normal(0, 10, 4)
    assert_equals_reference(
        functools.partial(spectral, mu=mu), lambda z: references.spectral(z, mu), z
    )


@pytest.mark.parametrize('arm', ARMS)
@pytest.mark.parametrize('selected', ['some', 'all'])
def test_arms_equal_reference(arm, selected):
    z = normal(1, 10, 4)
    pairs = np.random.default_rng(0).random((10, 10)) < 0.5
    exact = pairs if selected == 'some' else np.ones((10, 10), bool)
    metrics, _ = assert_equals_reference(
        functools.partial(
            spectral, pairs=jnp.asarray(pairs) if selected == 'some' else 'all', **ARMS[arm]
        ),
        lambda z: references.spectral(z, pairs=exact, **ARMS[arm]),
        z,
    )
    compared = [
        (i, k) for i in range(10) for k in range(10) if (i < 5) != (k < 5) and k % 5 != i % 5
    ]
    share = np.mean([exact[pair] for pair in compared])
    np.testing.assert_allclose(metrics['selected_share'], share, rtol=1e-6)


def test_removal_is_the_limit_of_a_large_temperature_scale():
    z, pairs = normal(2, 10, 4), jnp.asarray(np.random.default_rng(1).random((10, 10)) < 0.5)
    (removed, _), gradient = value_and_gradient(spectral, z, pairs=pairs, remove=True)
    (limit, _), limit_gradient = value_and_gradient(
        spectral, z, pairs=pairs, temperature_scale=1e12
    )
    np.testing.assert_allclose(removed, limit, rtol=1e-6)
    np.testing.assert_allclose(gradient, limit_gradient, atol=1e-6)


class TestMatrixFactorisation:
    """Expected gradients of the loss are those of the factorisation in Theorems 4.2 and 4.4.

    The graph: three images, each with its own chances over five augmented views. A vertex is a
    view, an edge the chance of a positive pair. Every batch of two images is listed with its
    chance, so the expectation is exact.
    """

    mu = 100.0  # No row is clipped.

    def graph(self):
        rng = np.random.default_rng(3)
        chances = rng.dirichlet(np.ones(5), size=3)
        edges = np.einsum('ax,ay->xy', chances, chances) / 3
        marks = np.triu(rng.random((5, 5)) < 0.5)
        return edges, marks | marks.T

    def expected_gradient(self, rows, edges, marks, **options):
        # (x1, x2, y1, y2): the views of the first and of the second image.
        batches = np.stack(np.meshgrid(*[np.arange(5)] * 4, indexing='ij'), -1).reshape(-1, 4)
        x1, x2, y1, y2 = batches.T
        chance = edges[x1, y1] * edges[x2, y2]
        np.testing.assert_allclose(np.sum(chance), 1)

        def expectation(rows):
            def of_batch(batch, marks):
                return spectral(rows[batch], mu=self.mu, pairs=marks, **options)[0]

            selected = jnp.asarray(marks[batches[:, :, None], batches[:, None, :]])
            losses = jax.vmap(of_batch)(jnp.asarray(batches), selected)
            return self.mu * jnp.sum(losses * jnp.asarray(chance, jnp.float32))

        return quick_jit(jax.grad(expectation))(jnp.asarray(rows, jnp.float32))

    @staticmethod
    def factorisation_gradient(rows, target, weights, degrees):
        """Of `sum_xy weights (target - F F^T)^2` with respect to f, `F = D^1/2 f`, in float64."""
        root = np.sqrt(degrees)[:, None]

        def loss(rows):
            return np.sum(weights * (target - (root * rows) @ (root * rows).T) ** 2)

        f = root * rows
        closed_form = -4 * root * ((weights * (target - f @ f.T)) @ f)
        differences = references.finite_differences(loss, rows)
        np.testing.assert_allclose(closed_form, differences, atol=1e-7)
        return closed_form

    @pytest.mark.parametrize(
        ('margin', 'temperature_scale'), [(0.0, 1.0), (0.4, 1.0), (0.0, 0.6), (0.4, 0.6)]
    )
    def test_gradients_agree(self, margin, temperature_scale):
        edges, marks = self.graph()
        degrees = np.sum(edges, axis=1)
        root = np.sqrt(np.outer(degrees, degrees))
        rows = normal(4, 5, 3).astype(np.float64)
        scale = np.where(marks, temperature_scale, 1.0)
        exact = self.factorisation_gradient(
            rows,
            target=scale * edges / root - margin * root * marks,
            weights=1 / scale,
            degrees=degrees,
        )
        found = self.expected_gradient(
            rows, edges, marks, margin=margin, temperature_scale=temperature_scale
        )
        np.testing.assert_allclose(found, exact, atol=2e-6 * np.max(np.abs(exact)), rtol=0)
        if (margin, temperature_scale) != (0.0, 1.0):
            plain = self.factorisation_gradient(rows, edges / root, np.ones((5, 5)), degrees)
            assert np.max(np.abs(exact - plain)) > 1e-2 * np.max(np.abs(plain))

    def test_removal_gives_the_selected_entries_no_weight(self):
        edges, marks = self.graph()
        degrees = np.sum(edges, axis=1)
        root = np.sqrt(np.outer(degrees, degrees))
        rows = normal(4, 5, 3).astype(np.float64)
        # Weight zero in the square; the attraction, which is linear, stays.
        exact = self.factorisation_gradient(rows, edges / root, 1.0 * ~marks, degrees)
        exact -= 4 * (edges * marks) @ rows
        found = self.expected_gradient(rows, edges, marks, remove=True)
        np.testing.assert_allclose(found, exact, atol=2e-6 * np.max(np.abs(exact)), rtol=0)


@pytest.mark.parametrize('name', ['mu', 'temperature_scale'])
def test_what_is_not_positive_is_refused(name):
    with pytest.raises(ValueError, match=f'{name}='):
        spectral(jnp.ones((4, 2)), **{name: 0.0})
