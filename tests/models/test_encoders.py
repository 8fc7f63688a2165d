"""What the layers compute, against the same in NumPy float64. Axes: b images, h w, c channels."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from contrastive_jax import config as base
from contrastive_jax.models import Context, ContrastiveModel, Moments
from contrastive_jax.models.encoders import DEPTHS, _Block
from tests.objectives.checks import normal, quick_jit

MOMENTS = Moments((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def _filled(build):
    """A module with random weights and statistics; at their first values much of it is off."""
    graphdef, state = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(0)

    def fill(path, variable):
        low, high = (0.5, 2) if path[-1] == 'var' else (-0.8, 0.8)
        value = rng.uniform(low, high, variable.shape)
        return variable.replace(jnp.asarray(value, jnp.float32))

    return nnx.merge(graphdef, nnx.map_state(fill, state))


def _windows(x, size, stride, fill):
    """All windows `[b, i, j, size, size, c]` of images with `size // 2` pixels around them."""
    edge = size // 2
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), constant_values=fill)
    places = [range(0, side - size + 1, stride) for side in x.shape[1:3]]
    return np.array(
        [[x[:, i : i + size, j : j + size] for j in places[1]] for i in places[0]]
    ).transpose(2, 0, 1, 3, 4, 5)


def _conv_norm(layer, x, stride=1, train=False):
    kernel, norm = np.asarray(layer.conv.kernel[...], np.float64), layer.norm
    x = np.einsum('bijhwc,hwcd->bijd', _windows(x, len(kernel), stride, 0), kernel)
    mean, var = np.asarray(norm.mean[...]), np.asarray(norm.var[...])
    if train:
        mean, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    scale, bias = np.asarray(norm.scale[...]), np.asarray(norm.bias[...])
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def _relu(x):
    return np.where(x > 0, x, 0)


def _basic(block, x, stride, train=False):
    first, second = block.layers
    y = _relu(_conv_norm(first, x, stride, train))
    return _sum(block, x, _conv_norm(second, y, 1, train), stride, train)


def _bottleneck(block, x, stride, train=False):
    first, second, third = block.layers
    y = _relu(_conv_norm(first, x, 1, train))
    y = _relu(_conv_norm(second, y, stride, train))
    return _sum(block, x, _conv_norm(third, y, 1, train), stride, train)


def _sum(block, x, y, stride, train):
    """He et al. 2016: the shortcut is a projection only where the shape changes."""
    if x.shape == y.shape:
        return _relu(x + y)
    return _relu(_conv_norm(block.shortcut, x, stride, train) + y)


def _assert_close(found, exact):
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5 * np.abs(exact).max())


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(
    ('channels', 'stride', 'bottleneck'),
    [(3, 1, False), (2, 2, False), (12, 1, True), (2, 2, True)],
)
def test_a_block_adds_its_convolutions_to_the_shortcut(channels, stride, bottleneck, train):
    def build():
        return _Block(channels, 3, stride, bottleneck=bottleneck, ctx=Context(nnx.Rngs(0)))

    block, x = _filled(build), normal(1, 2, 6, 6, channels)
    exact = (_bottleneck if bottleneck else _basic)(block, x, stride, train)
    found = quick_jit(lambda x: nnx.clone(block)(x, train))(jnp.asarray(x))
    # So that a ReLU more or less shows.
    assert 0.1 < np.mean(exact == 0) < 0.9
    _assert_close(found, exact)


def _model(name, stem='cifar'):
    options = base.default().model
    options.update(name=name, stem=stem, width=2, projector_width=7, projector_dim=5)
    return _filled(lambda: ContrastiveModel(options, MOMENTS, Context(nnx.Rngs(0))))


def _normalised(images):
    return (images - np.array(MOMENTS.mean)) / np.array(MOMENTS.std)


def _projected(projector, features):
    hidden, out = (
        (np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...]))
        for layer in (projector.hidden, projector.out)
    )
    return _relu(features @ hidden[0] + hidden[1]) @ out[0] + out[1]


def _assert_model_computes(model, images, features):
    """Holds features and embeddings of evaluation against the exact features."""
    found = quick_jit(lambda images: model(images, train=False))(jnp.asarray(images))
    _assert_close(found[0], features)
    _assert_close(found[1], _projected(model.projector, features))


@pytest.mark.parametrize(
    ('name', 'stem', 'size'),
    [('resnet18', 'cifar', 6), ('resnet18', 'imagenet', 24), ('resnet50', 'cifar', 6)],
)
def test_a_resnet_is_stem_blocks_and_the_mean_over_the_grid(name, stem, size, monkeypatch):
    # Two stages say all about the others.
    depth = int(name.removeprefix('resnet'))
    monkeypatch.setitem(DEPTHS, depth, ((2, 1), depth == 50))
    model, images = _model(name, stem), np.random.default_rng(1).uniform(size=(2, size, size, 3))
    images = images.astype(np.float32)
    encoder = model.encoder
    x = _relu(_conv_norm(encoder.stem, _normalised(images), 1 if stem == 'cifar' else 2))
    if stem == 'imagenet':
        x = _windows(x, 3, 2, -np.inf).max(axis=(3, 4))
    for block, stride in zip(encoder.blocks, (1, 1, 2), strict=True):
        x = (_bottleneck if depth == 50 else _basic)(block, x, stride)
    # Of a single pixel the mean would be the largest value.
    assert x.shape[1:3] == (3, 3)
    _assert_model_computes(model, images, x.mean(axis=(1, 2)))


def test_a_conv_net_is_three_convolutions_and_the_means_of_quarters():
    model, images = _model('conv'), np.random.default_rng(1).uniform(size=(2, 16, 16, 3))
    images = images.astype(np.float32)
    x = _normalised(images)
    for layer, stride in zip(model.encoder.layers, (1, 2, 2), strict=True):
        x = _relu(_conv_norm(layer, x, stride))
    quarters = x.reshape(2, 2, 2, 2, 2, -1).mean(axis=(2, 4))
    _assert_model_computes(model, images, quarters.reshape(2, -1))
