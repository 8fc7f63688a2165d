import numpy as np
import pytest

from contrastive_jax.graph import nearest_difficult
from contrastive_jax.graph.nearest import neighbours

BAND = {'pos_high': 0.1, 'pos_low': 0.5}


@pytest.mark.parametrize('center', [True, False])
def test_neighbours_are_those_of_all_cosines(center, monkeypatch):
    # Blocks that do not divide the samples.
    monkeypatch.setattr('contrastive_jax.graph.nearest._BLOCK_BYTES', 4 * 50 * 7)
    features = np.random.default_rng(0).normal(size=(50, 6)) + 0.5
    found = neighbours(features, **BAND, count=3, center=center)
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
    found = neighbours(features, pos_high=0.3, pos_low=0.6, count=9)
    assert found.nearest.shape == (4, 3)
    assert (found.partners[:, 1:] == -1).all()
    assert (found.partners[:, 0] >= 0).all()


def test_one_sample_has_no_neighbour():
    with pytest.raises(ValueError, match='need at least two samples'):
        neighbours(np.ones((1, 3)), **BAND, count=1)
