import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.evaluation import calibrated, untrained
from contrastive_jax.models import Moments
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.training.devices import AXIS
from contrastive_jax.training.setup import set_up
from tests.helpers import random_batch, small_config
from tests.marks import in_ci

IMAGES = random_batch(0, 40, size=16).images


def _setup(**changes):
    # As `main` builds it: batch norm over the devices.
    return set_up(small_config(**changes), Moments((0.5,) * 3, (0.25,) * 3), 10, AXIS)


def _batch_norms(model):
    return [part for _, part in nnx.iter_modules(model) if isinstance(part, nnx.BatchNorm)]


@pytest.mark.parametrize(('name', 'layers'), [('conv', 3), *in_ci(('resnet18', 20))])
def test_every_branch_is_on_and_every_batch_norm_standardises(name, layers):
    setup = _setup(model__name=name, model__stem='imagenet')
    before = setup.initial.params, setup.initial.stats
    kept = jax.tree.map(np.array, before)
    params, stats = calibrated(setup.graphdef, *before, IMAGES)
    # Training starts from what it started from.
    jax.tree.map(np.testing.assert_array_equal, before, kept)
    assert jax.tree.structure((params, stats)) == jax.tree.structure(before)
    model = nnx.merge(setup.graphdef, params, stats, copy=True)
    norms = _batch_norms(model)
    assert len(norms) == layers
    assert all(np.all(np.asarray(norm.scale[...]) == 1) for norm in norms)

    # In evaluation on the sample, every layer does what it does by the statistics of this batch.
    @jax.jit
    def features(params, images):
        by_batch = nnx.merge(setup.graphdef, params, stats, copy=True)
        for norm in _batch_norms(by_batch):
            norm.axis_name = None
        return model.encode(images, train=False), by_batch.encode(images, train=True)

    images = jnp.asarray(IMAGES, jnp.float32) / 255
    np.testing.assert_allclose(*features(params, images), rtol=1e-3, atol=1e-4)
    if name == 'resnet18':
        # The block that is the identity when training starts.
        x = jax.random.uniform(jax.random.key(0), (2, 4, 4, 4))
        first = nnx.merge(setup.graphdef, *before, copy=True).encoder.blocks[0]
        np.testing.assert_allclose(first(x, False), x, atol=1e-6)
        assert np.abs(np.asarray(model.encoder.blocks[0](x, False) - x)).max() > 0.1


def test_statistics_are_means_over_batches_of_a_seeded_sample(monkeypatch):
    monkeypatch.setattr(untrained, '_BATCH', 8)
    monkeypatch.setattr(untrained, '_MOST_IMAGES', 20)
    setup = _setup()
    initial = setup.initial
    params, stats = calibrated(setup.graphdef, initial.params, initial.stats, IMAGES)
    model = nnx.merge(setup.graphdef, params, stats, copy=True)
    # Twenty images make two batches of eight.
    sample = host_rng(Use.CALIBRATION, 0).permutation(40)[:16]
    pixels = (jnp.asarray(IMAGES[sample], jnp.float32) / 255 - 0.5) / 0.25
    first = model.encoder.layers[0]
    maps = np.asarray(first.conv(pixels), np.float64).reshape(2, -1, 4)
    np.testing.assert_allclose(first.norm.mean[...], maps.mean(axis=(0, 1)), atol=1e-5)
    np.testing.assert_allclose(first.norm.var[...], maps.var(axis=1).mean(axis=0), rtol=1e-4)


def test_images_on_disk_serve_as_well():
    setup = _setup()
    weights = setup.initial.params, setup.initial.stats
    stored = StoredImages(lambda place: Image.fromarray(IMAGES[place]), np.arange(40), 'sum', 16)
    found = [calibrated(setup.graphdef, *weights, images) for images in (IMAGES, stored)]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_model_without_batch_norm_is_left_alone():
    # Flax adds biases to products of another rank.
    with jax.numpy_rank_promotion('allow'):
        setup = _setup(model__name='feedforward', model__patch=4)
    weights = setup.initial.params, setup.initial.stats
    params, stats = calibrated(setup.graphdef, *weights, IMAGES)
    assert params is weights[0]
    assert stats is weights[1]
