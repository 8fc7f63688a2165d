import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from contrastive_jax import config as base
from contrastive_jax.models import Context, ContrastiveModel, Moments, context, pixel_moments
from contrastive_jax.models.encoders import average_pool
from tests.marks import in_ci

MOMENTS = Moments((0.5,) * 3, (0.25,) * 3)


def _model(name, width=64, stem='cifar', **context):
    config = base.default().model
    config.name, config.width, config.stem = name, width, stem
    return ContrastiveModel(config, MOMENTS, Context(nnx.Rngs(0), **context))


@pytest.mark.parametrize(
    ('name', 'stem', 'parameters'),
    [
        # torchvision's counts without the classifier; the CIFAR stem has 3 x 3, not 7 x 7, weights.
        ('resnet18', 'imagenet', 11_689_512 - 513_000),
        ('resnet18', 'cifar', 11_689_512 - 513_000 - 64 * 3 * (49 - 9)),
        *in_ci(
            ('resnet34', 'imagenet', 21_797_672 - 513_000),
            ('resnet50', 'imagenet', 25_557_032 - 2_049_000),
        ),
    ],
)
def test_resnets_have_the_known_number_of_parameters(name, stem, parameters):
    encoder = nnx.eval_shape(lambda: _model(name, stem=stem)).encoder
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(encoder, nnx.Param))) == parameters


@pytest.mark.parametrize(('stem', 'size'), [('cifar', 4), ('imagenet', 1)])
def test_the_stem_decides_the_last_grid(stem, size):
    def last_grid(images):
        encoder = _model('resnet18', width=4, stem=stem).encoder
        return encoder.grid(images, train=False)

    assert jax.eval_shape(last_grid, jnp.zeros((2, 32, 32, 3))).shape == (2, size, size, 32)


@pytest.mark.parametrize('name', ['conv', 'resnet18'])
def test_features_and_embeddings_are_float32_whatever_the_precision(name):
    model = _model(name, width=4, dtype=jnp.bfloat16)
    # Flax mixes bfloat16 inputs with float32 statistics inside batch norm.
    with jax.numpy_dtype_promotion('standard'):
        features, embeddings = jax.eval_shape(
            lambda images: nnx.clone(model)(images, train=True), jnp.ones((2, 16, 16, 3))
        )
    assert features.dtype == embeddings.dtype == jnp.float32
    assert features.shape == (2, model.encoder.num_features)
    assert embeddings.shape == (2, 128)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.newest
def test_evaluation_changes_no_statistics_and_training_does():
    model = _model('conv', width=4)
    images = jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.BatchStat))
    model.encode(images, train=False)
    after = nnx.state(model, nnx.BatchStat)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    model.encode(images, train=True)
    moved = nnx.state(model, nnx.BatchStat)
    assert any(
        bool(jnp.any(a != b))
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(moved), strict=True)
    )


def test_in_evaluation_an_image_does_not_see_its_batch():
    model = _model('conv', width=4)
    images = jax.random.uniform(jax.random.key(0), (4, 16, 16, 3))
    together = model.encode(images, train=False)
    alone = model.encode(images[:1], train=False)
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-4, atol=1e-5)


def test_a_block_starts_as_the_identity():
    block = _model('resnet18', width=4).encoder.blocks[0]
    x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 4))
    np.testing.assert_allclose(block(x, True), x, atol=1e-6)


@pytest.mark.parametrize('at_once', [1, 90, 2**22])
def test_moments_are_those_of_the_pixels(monkeypatch, at_once):
    monkeypatch.setattr(context, '_PIXELS_AT_ONCE', at_once)
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    moments = pixel_moments(images)
    np.testing.assert_allclose(moments.mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(moments.std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-12)
    assert pixel_moments(np.zeros((2, 4, 4, 1), np.uint8)).std == (1.0,)


@pytest.mark.parametrize(
    ('name', 'size', 'shape'),
    [('conv', 8, (2, 16, 8)), ('conv', 32, (2, 16, 8)), ('resnet18', 32, (2, 16, 16))],
)
def test_tokens_are_the_grid_before_the_last_stage(name, size, shape):
    model = _model(name, width=4)
    images = jnp.ones((2, size, size, 3))
    features, tokens = jax.eval_shape(model.features_and_tokens, images)
    assert tokens.shape == shape
    assert features.shape == (2, model.encoder.num_features)


def test_with_tokens_come_the_features_of_evaluation():
    model = _model('conv', width=4)
    images = jax.random.uniform(jax.random.key(0), (3, 8, 8, 3))
    features, tokens = model.features_and_tokens(images)
    np.testing.assert_array_equal(features, model.encode(images, train=False))
    last = model.encoder.layers[-1](tokens.reshape(3, 4, 4, 8), False)
    np.testing.assert_allclose(nnx.relu(last).reshape(3, -1), features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('size', 'side'), [(8, 2), (8, 4), (4, 4), (7, 2), (7, 4), (5, 3), (1, 2)])
def test_pooling_is_the_mean_of_windows(size, side):
    grid = np.random.default_rng(0).normal(size=(3, size, size + 1, 5)).astype(np.float32)

    def windows(length):
        return [
            slice(int(np.floor(i * length / side)), int(np.ceil((i + 1) * length / side)))
            for i in range(side)
        ]

    expected = [
        [grid[:, rows, columns].mean(axis=(1, 2)) for columns in windows(size + 1)]
        for rows in windows(size)
    ]
    found = average_pool(jnp.asarray(grid), side)
    np.testing.assert_allclose(found, np.moveaxis(np.array(expected), 2, 0), rtol=1e-5, atol=1e-6)


def test_features_of_a_conv_net_are_means_of_quarters():
    model = _model('conv', width=4)
    images = jax.random.uniform(jax.random.key(0), (3, 32, 32, 3))
    encoder = model.encoder
    grid = np.asarray(encoder._last(encoder._penultimate(images, False), False))
    quarters = grid.reshape(3, 2, 4, 2, 4, 16).mean(axis=(2, 4))
    np.testing.assert_allclose(encoder(images, False), quarters.reshape(3, -1), rtol=1e-5)
