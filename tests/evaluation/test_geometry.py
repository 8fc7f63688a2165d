"""Axes: n samples, k features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from contrastive_jax.evaluation.geometry import alignment, effective_rank, uniformity


@pytest.mark.parametrize('shape', [(12, 4), (4, 12), (5, 5)])
def test_orthogonal_directions_of_one_length_all_count(shape):
    features = 3 * jnp.eye(*shape)
    assert float(effective_rank(features)) == pytest.approx(min(shape), rel=1e-4)


def test_the_rank_weighs_directions_by_their_singular_values():
    shares = np.array([0.6, 0.3, 0.1], np.float32)
    expected = np.exp(-np.sum(shares * np.log(shares)))
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 3)))[0] for n in (20, 7))
    features = (left * shares @ right.T).astype(np.float32)
    assert float(effective_rank(jnp.asarray(features))) == pytest.approx(expected, rel=1e-2)


def test_one_direction_has_rank_one():
    features = jnp.outer(jnp.arange(1.0, 40.0), jnp.arange(1.0, 9.0))
    assert float(effective_rank(features)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(('degrees', 'expected'), [(0, 0.0), (60, 1.0), (90, 2.0), (180, 4.0)])
def test_views_are_as_far_apart_as_their_angle_says(degrees, expected):
    angle = np.deg2rad(degrees)
    first = jnp.tile(jnp.array([[2.0, 0.0]]), (3, 1))
    second = jnp.tile(jnp.array([[np.cos(angle), np.sin(angle)]], jnp.float32), (3, 1))
    assert float(alignment(first, second)) == pytest.approx(expected, abs=1e-5)


def test_uniformity_of_few_points_in_closed_form():
    same = jnp.ones((5, 3))
    assert float(uniformity(same)) == pytest.approx(0, abs=1e-5)
    # Two points of each axis, at squared distances 2 (four of five others) and 4.
    cross = jnp.concatenate([jnp.eye(3), -jnp.eye(3)])
    expected = np.log((4 * np.exp(-4) + np.exp(-8)) / 5)
    assert float(uniformity(cross)) == pytest.approx(expected, abs=1e-5)


def test_samples_without_a_direction_are_in_one_place():
    assert uniformity(jnp.zeros((5, 3))) == 0
    rows = jnp.concatenate([jnp.eye(3), jnp.zeros((1, 3))])
    # Six ordered pairs of unit vectors at squared distance 2, six of a unit vector and zero at 1.
    expected = np.log((6 * np.exp(-4) + 6 * np.exp(-2)) / 12)
    assert float(uniformity(rows)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('scale', [1e-22, 1e20])
def test_the_rank_has_no_scale(scale):
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(20, 6)), jnp.float32)
    assert float(effective_rank(rows * scale)) == pytest.approx(
        float(effective_rank(rows)), rel=1e-4
    )


@pytest.mark.parametrize('power', [2, 3, 4])
def test_a_low_rank_is_not_lost_in_rounding(power):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 64)))[0] for n in (200, 100))
    features = ((left / np.arange(1, 65) ** power) @ right.T).astype(np.float32)
    shares = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares /= shares.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    np.testing.assert_allclose(effective_rank(jnp.asarray(features)), expected, rtol=1e-4)


def test_what_has_no_pair_is_refused(unchecked_types):
    with pytest.raises(ValueError, match='need at least two'):
        uniformity(jnp.ones((1, 3)))
    with pytest.raises(ValueError, match='need two views of each sample'):
        alignment(jnp.ones((4, 3)), jnp.ones((1, 3)))


@pytest.mark.parametrize('measure', [effective_rank, uniformity])
def test_an_explicit_mesh_changes_nothing(measure):
    features = jax.random.normal(jax.random.key(0), (8, 3))
    mesh = jax.make_mesh((4,), ('d',), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        found = measure(jax.device_put(features, NamedSharding(mesh, PartitionSpec('d'))))
    np.testing.assert_allclose(found, measure(features), rtol=1e-5)
