import jax
import numpy as np
import pytest
from flax import nnx

from contrastive_jax.models import encoders


@pytest.mark.parametrize('shape', [(2, 16, 16, 3), (2, 7, 10, 3), (1, 1, 1, 2)])
def test_the_pooling_is_that_of_flax(shape):
    def reference(x):
        return nnx.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])

    def gradient(pool):
        return jax.grad(lambda x: (pool(x) ** 2).sum())(images)

    images = jax.random.normal(jax.random.key(0), shape)
    np.testing.assert_array_equal(encoders._max_pool(images), reference(images))
    np.testing.assert_allclose(gradient(encoders._max_pool), gradient(reference), rtol=1e-6)
