import numpy as np
import pytest

from contrastive_jax.ebt.noise import corrupt


@pytest.mark.parametrize('channels', [1, 3])
def test_salt_and_pepper_turns_whole_pixels(channels):
    images = np.random.default_rng(0).uniform(-0.9, 0.9, (100, 16, 16, channels))
    images = images.astype(np.float32)
    noisy = corrupt(images, 'salt and pepper', seed=0)
    touched = noisy != images
    # A pixel is turned in all of its channels or in none, and to black or white.
    assert np.array_equal(touched.any(axis=-1), touched.all(axis=-1))
    turned = noisy[touched.all(axis=-1)]
    assert np.all(np.abs(turned) == 1)
    assert np.all(turned == turned[:, :1])
    # 25,600 pixels: the standard deviations of the shares are 0.0022 and 0.008.
    np.testing.assert_allclose(touched.any(axis=-1).mean(), 0.15, atol=0.01)
    np.testing.assert_allclose(np.mean(turned == 1), 0.5, atol=0.04)


def _images():
    return np.random.default_rng(0).uniform(-1, 1, (64, 16, 16, 1)).astype(np.float32)


@pytest.mark.parametrize('level', [20, 49, 99, 199, 299])
def test_gaussian_noise_has_the_variance_of_its_level(level):
    images = _images()
    noisy = corrupt(images, f'gaussian {level}', seed=0)
    # Ho et al. 2020: x_t = sqrt(a) x + sqrt(1 - a) e, with a the product of all 1 - beta up to t.
    remaining = 1.0
    for step in range(level + 1):
        remaining *= 1 - (1e-4 + (0.02 - 1e-4) * step / 999)
    added = noisy - np.sqrt(remaining) * images
    # Of 16,384 values the variance is known to 1.1 % and the mean to 0.8 % of a deviation.
    np.testing.assert_allclose(added.var(), 1 - remaining, rtol=0.05)
    assert abs(added.mean()) < 0.03 * added.std()
    assert abs(np.corrcoef(added.ravel(), images.ravel())[0, 1]) < 0.03


def test_uniform_noise_has_its_variance_and_its_bounds():
    images = _images()
    added = corrupt(images, 'uniform', seed=0) - images
    assert 0.59 < np.abs(added).max() <= 0.6 + 1e-6
    np.testing.assert_allclose(added.var(), 0.6**2 / 3, rtol=0.05)
    assert abs(added.mean()) < 0.03 * added.std()


def test_blur_spreads_a_point_by_its_variance():
    point = np.zeros((1, 17, 17, 1), np.float32)
    point[0, 8, 8] = 1
    blurred = corrupt(point, 'blur', seed=0)[0, :, :, 0]
    np.testing.assert_allclose(blurred.sum(), 1, rtol=1e-5)
    distance = np.arange(17) - 8
    for line in (blurred.sum(axis=0), blurred.sum(axis=1)):
        # Sampling at whole pixels changes the variance 0.7^2 a little.
        np.testing.assert_allclose(np.sum(line * distance**2), 0.49, rtol=0.01)
