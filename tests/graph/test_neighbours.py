import numpy as np
import pytest

from contrastive_jax.graph import nearest_difficult
from contrastive_jax.graph.neighbours import find_neighbours

BAND = {'pos_high': 0.1, 'pos_low': 0.5}


@pytest.mark.parametrize('center', [True, False])
def test_neighbours_are_those_of_all_cosines(center, monkeypatch):
    # Blocks that do not divide the samples.
    monkeypatch.setattr('contrastive_jax.graph.neighbours._BLOCK_BYTES', 4 * 50 * 7)
    features = np.random.default_rng(0).normal(size=(50, 6)) + 0.5
    found = find_neighbours(features, **BAND, count=3, center=center)
    rows = features - features.mean(axis=0) if center else features
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1)
    np.testing.assert_array_equal(found.nearest, order[:, :3])
    np.testing.assert_allclose(found.similarity, np.sort(cosines)[:, :-4:-1], atol=1e-6)
    # Of 49 others the band begins behind the fifth.
    np.testing.assert_array_equal(found.partners, order[:, 5:8])
    first = nearest_difficult(features, np.arange(50), **BAND, center=center)
    np.testing.assert_array_equal(found.partners[:, 0], first)


def test_a_band_with_fewer_samples_is_padded():
    features = np.random.default_rng(0).normal(size=(4, 3))
    found = find_neighbours(features, pos_high=0.3, pos_low=0.6, count=9)
    assert found.nearest.shape == (4, 3)
    assert (found.partners[:, 1:] == -1).all()
    assert (found.partners[:, 0] >= 0).all()


def test_one_sample_has_no_neighbour():
    with pytest.raises(ValueError, match='need at least two samples'):
        find_neighbours(np.ones((1, 3)), **BAND, count=1)


def _reference(features, sample, high, low, center):
    features = features - features.mean(axis=0) if center else features
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit[sample]
    others = sorted((j for j in range(len(unit)) if j != sample), key=lambda j: -similarity[j])
    band = others[high:low]
    return band[0] if band else sample


@pytest.mark.parametrize('center', [True, False])
def test_it_is_the_first_of_the_band(center):
    features = np.random.default_rng(0).normal(size=(21, 5))
    samples = np.arange(21)
    for high, low in ((0.1, 0.5), (0.0, 0.05), (0.3, 0.3)):
        found = nearest_difficult(features, samples, pos_high=high, pos_low=low, center=center)
        ranks = round(high * 20), round(low * 20)
        expected = [_reference(features, sample, *ranks, center) for sample in samples]
        np.testing.assert_array_equal(found, expected)


def test_bad_input_is_refused():
    features = np.ones((4, 2))
    with pytest.raises(ValueError, match='pos_high'):
        nearest_difficult(features, np.arange(2), pos_high=0.5, pos_low=0.1)
    features[2] = np.nan
    with pytest.raises(ValueError, match='row 2'):
        nearest_difficult(features, np.arange(2), pos_high=0.1, pos_low=0.5)


def test_copies_of_one_sample_have_nobody_in_the_band():
    features = np.ones((4, 2))
    found = nearest_difficult(features, np.arange(4), pos_high=0.4, pos_low=1.0)
    np.testing.assert_array_equal(found, np.arange(4))
