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
