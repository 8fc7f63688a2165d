import numpy as np
import pytest

from contrastive_jax.data.mixed import mix


def _data(n=60, c=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 8, 8, c), dtype=np.uint8), rng.integers(0, 4, n)


def test_each_mixed_image_is_the_average_with_one_of_another_class():
    images, labels = _data()
    found = mix(images, labels, ratio=0.3, seed=0)
    assert len(found.indices) == len(found.partners) == 18
    assert np.all(np.diff(found.indices) > 0)
    assert np.all(labels[found.indices] != labels[found.partners])
    mean = (images[found.indices].astype(float) + images[found.partners]) / 2
    # Halves round to the even number.
    np.testing.assert_array_equal(found.images[found.indices], np.round(mean))
    rest = np.setdiff1d(np.arange(60), found.indices)
    np.testing.assert_array_equal(found.images[rest], images[rest])


def test_the_weight_is_that_of_the_image_itself():
    images, labels = _data()
    found = mix(images, labels, ratio=0.3, seed=0, weight=0.75)
    own, other = images[found.indices], images[found.partners]
    expected = np.round(0.75 * own + 0.25 * other)
    np.testing.assert_array_equal(found.images[found.indices], expected)


def test_a_larger_ratio_mixes_more_of_the_same():
    images, labels = _data()
    few, many = (mix(images, labels, ratio=ratio, seed=3) for ratio in (0.1, 0.5))
    assert np.isin(few.indices, many.indices).all()
    np.testing.assert_array_equal(few.images[few.indices], many.images[few.indices])
    again = mix(images, labels, ratio=0.1, seed=3)
    np.testing.assert_array_equal(again.images, few.images)
    assert not np.array_equal(mix(images, labels, ratio=0.1, seed=4).indices, few.indices)


def test_every_image_of_another_class_can_be_the_partner():
    labels = np.array([0, 1, 0, 2, 1, 0])
    images = np.zeros((6, 2, 2, 1), np.uint8)
    seen = {tuple(pair) for seed in range(300) for pair in _pairs(images, labels, seed)}
    expected = {(i, j) for i in range(6) for j in range(6) if labels[i] != labels[j]}
    assert seen == expected


def _pairs(images, labels, seed):
    found = mix(images, labels, ratio=1.0, seed=seed)
    return zip(found.indices.tolist(), found.partners.tolist(), strict=True)


@pytest.mark.parametrize('channels', [1, 3])
def test_contrast_is_that_of_the_source(channels):
    rng = np.random.default_rng(0)
    # Grey enough that nothing is cut off.
    images = rng.integers(90, 160, (40, 8, 8, channels), dtype=np.uint8)
    labels = np.arange(40) % 2
    plain, matched = (
        mix(images, labels, ratio=0.5, seed=0, match_contrast=match) for match in (False, True)
    )
    deviation = images[plain.indices].std(axis=(1, 2, 3))
    assert np.all(plain.images[plain.indices].std(axis=(1, 2, 3)) < 0.9 * deviation)
    found = matched.images[matched.indices].std(axis=(1, 2, 3))
    np.testing.assert_allclose(found, deviation, rtol=0.02)


def test_contrast_goes_as_far_as_black_and_white_allow():
    images = np.zeros((2, 2, 2, 1), np.uint8)
    images[0, 0], images[1, 1] = 255, 255  # Their average is flat: no gain brings contrast back.
    found = mix(images, np.array([0, 1]), ratio=1.0, seed=0, match_contrast=True)
    np.testing.assert_array_equal(found.images, 128)
    images[1] = 0
    found = mix(images, np.array([0, 1]), ratio=0.5, seed=1, match_contrast=True)
    assert found.images.std() > 0
