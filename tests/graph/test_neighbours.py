import numpy as np
import pytest

from contrastive_jax.graph import nearest_difficult


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
