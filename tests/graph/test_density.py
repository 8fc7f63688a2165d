import math

import jax
import numpy as np
import pytest

from contrastive_jax.graph import isolation, scores
from contrastive_jax.training.devices import AXIS


def _reference(features, near, center=True):
    features = np.asarray(features, np.float64)
    features = features - features.mean(axis=0) if center else features
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    n = len(unit)
    count = math.ceil(near * (n - 1))
    similarity = unit @ unit.T
    neighbours = [
        sorted((j for j in range(n) if j != i), key=lambda j: -similarity[i, j])[:count]
        for i in range(n)
    ]
    alpha = np.array([similarity[i, near_i].mean() for i, near_i in enumerate(neighbours)])
    return np.array([alpha[near_i].mean() for near_i in neighbours]) - alpha


def _features(n=48, k=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32)


@pytest.mark.parametrize('near', [0.02, 0.2, 1.0])
@pytest.mark.parametrize('center', [True, False])
def test_it_is_the_reference(near, center):
    found = isolation(_features(), near=near, center=center)
    np.testing.assert_allclose(found, _reference(_features(), near, center), atol=2e-6)


def test_blocks_and_scale_change_nothing():
    whole = isolation(_features(), near=0.1)
    np.testing.assert_allclose(isolation(_features(), near=0.1, block_size=7), whole, atol=1e-6)
    np.testing.assert_allclose(isolation(1e6 * _features(), near=0.1), whole, atol=1e-6)


def test_order_does_not_matter():
    order = np.random.default_rng(1).permutation(48)
    whole = np.asarray(isolation(_features(), near=0.1))
    np.testing.assert_allclose(isolation(_features()[order], near=0.1), whole[order], atol=1e-6)


def test_devices_equal_one():
    mapped = jax.pmap(lambda rows: isolation(rows, near=0.1, axis_name=AXIS), axis_name=AXIS)
    found = mapped(_features().reshape(4, 12, 6)).reshape(48)
    np.testing.assert_allclose(found, isolation(_features(), near=0.1), atol=1e-6)


def test_what_lies_between_two_clusters_is_isolated():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.eye(4)[:2] * 5, 20, axis=0) + 0.1 * rng.normal(size=(40, 4))
    between = np.array([[2.5, 2.5, 0, 0]])
    found = isolation(np.concatenate([clusters, between]), near=0.2, center=False)
    assert np.argmax(found) == 40
    assert found[40] > 0.1


@pytest.mark.parametrize('rows', [np.ones((1, 3)), np.ones((5, 3)), np.eye(3)[[0, 0, 1]]])
def test_degenerate_samples_have_a_number(rows):
    assert np.isfinite(isolation(rows)).all()
    assert isolation(np.ones((5, 3)), near=0.5).max() == 0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r'near=0\.0: need \(0, 1\]'):
        isolation(_features(), near=0.0)
    bad = _features()
    bad[3] = np.nan
    with pytest.raises(ValueError, match='row 3'):
        isolation(bad)


def test_boundary_is_the_mean_of_two_ranks():
    found = scores.boundary(np.array([0.1, 0.5, 0.5, 0.9]), np.array([4.0, 3.0, 2.0, 1.0]))
    np.testing.assert_allclose(found, np.array([5, 5.5, 4.5, 5]) / 8)


def test_a_rank_is_shared_by_values_that_rounding_alone_tells_apart():
    rng = np.random.default_rng(0)
    isolation = 1e-7 * rng.normal(size=50)
    difficulty = np.repeat([0.2, 0.8], 25) + 1e-7 * rng.normal(size=50)
    found = scores.boundary(difficulty, isolation)
    np.testing.assert_allclose(found, np.repeat([13 + 25.5, 38 + 25.5], 25) / 100)


@pytest.mark.parametrize(
    ('difficulty', 'isolation'),
    [(np.arange(3.0), np.arange(1.0)), (np.ones((3, 1)), np.ones((3, 1))), ([0, np.nan], [1, 2])],
)
def test_a_boundary_of_other_arrays_is_refused(difficulty, isolation, unchecked_types):
    with pytest.raises(ValueError, match=r'need two arrays \[n\]'):
        scores.boundary(np.asarray(difficulty), np.asarray(isolation))


def test_ranks_of_half_precision_are_those_of_the_values():
    values = np.array([0.1, 0.5, 0.9], np.float16), np.array([0.1, 0.2, -0.3], np.float16)
    np.testing.assert_allclose(scores.boundary(*values), np.array([3, 5, 4]) / 6)
