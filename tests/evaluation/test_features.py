import numpy as np
from flax import nnx

from contrastive_jax.evaluation import extract_features
from contrastive_jax.models import Context, ContrastiveModel, Moments
from contrastive_jax.models.frozen import encoder_function
from tests.helpers import random_batch, small_config


def test_every_image_counts_once_whatever_the_batch_size():
    model = ContrastiveModel(
        small_config().model, Moments((0.5,) * 3, (0.25,) * 3), Context(nnx.Rngs(0))
    )
    encode = encoder_function(*nnx.split(model, nnx.Param, nnx.BatchStat))
    images = random_batch(0, 11).images
    whole = extract_features(encode, images, batch_size=11)
    assert whole.shape == (11, 64)
    np.testing.assert_allclose(
        extract_features(encode, images, batch_size=4), whole, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        extract_features(encode, images, batch_size=512), whole, rtol=1e-4, atol=1e-5
    )
