import colorsys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax import config as base
from contrastive_jax.training.augmentation import _jitter, augment, two_views
from tests.helpers import random_batch

NOTHING = {
    'crop': False,
    'flip': 0.0,
    'jitter': 0.0,
    'greyscale': 0.0,
    'blur': 0.0,
}


def _augment(**changes):
    config = base.default().augment
    config.update(changes)
    return config


@partial(jax.jit, static_argnames='full')
def _jitted_views(key, images, first, full):
    config = base.default().augment if full else _augment(**NOTHING)
    return two_views(key, images, config, first)


def _views(images, seed=0, first=0, full=True):
    return np.asarray(_jitted_views(jax.random.key(seed), images, jnp.int32(first), full))


def _one_operation(image, name, **changes):
    """Applies one operation to one image, for many keys at once."""
    config = _augment(**(NOTHING | {name: 1.0} | changes))
    keys = jax.random.split(jax.random.key(1), 32)
    return np.asarray(jax.jit(jax.vmap(lambda key: augment(key, image, config)))(keys))


IMAGE = jnp.asarray(random_batch(0, 1, size=12).images[0] / np.float32(255))


@pytest.mark.parametrize('channels', [1, 3])
def test_views_have_the_shape_and_range_of_the_images(channels):
    images = random_batch(0, 4, channels=channels).images
    views = _views(images)
    assert views.shape == (8, 8, 8, channels)
    assert views.dtype == jnp.float32
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    assert not np.isclose(views[:4], views[4:]).all(axis=(1, 2, 3)).any()


def test_without_operations_a_view_is_the_image():
    images = random_batch(0, 4).images
    views = _views(images, full=False)
    np.testing.assert_allclose(views, np.concatenate([images, images]) / np.float32(255), rtol=1e-6)


def test_a_view_depends_on_the_place_in_the_global_batch_alone():
    images = random_batch(0, 4).images
    whole = _views(images)
    moved = _views(images[[2, 3, 0, 1]], first=2)
    np.testing.assert_allclose(moved[[0, 1, 4, 5]], whole[[2, 3, 6, 7]], atol=1e-6)


def test_each_image_and_each_step_draws_anew():
    images = np.repeat(random_batch(0, 1).images, 4, axis=0)
    views = _views(images).reshape(8, -1)
    assert len(np.unique(views.round(5), axis=0)) == 8
    other = _views(images, seed=1).reshape(8, -1)
    assert (views != other).any(axis=1).all()


def test_flip_mirrors_left_and_right():
    for view in _one_operation(IMAGE, 'flip'):
        np.testing.assert_array_equal(view, IMAGE[:, ::-1])


def test_flip_happens_with_its_probability():
    config = _augment(**(NOTHING | {'flip': 0.25}))
    keys = jax.random.split(jax.random.key(0), 4000)
    views = jax.vmap(lambda key: augment(key, IMAGE[:2, :2], config))(keys)
    flipped = np.mean([np.array_equal(view, IMAGE[:2, :2][:, ::-1]) for view in np.asarray(views)])
    # Five standard deviations of 4,000 draws.
    assert abs(flipped - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)


def test_an_operation_draws_the_same_whether_another_is_on():
    config, also_grey = (_augment(**(NOTHING | {'flip': 0.5, 'greyscale': g})) for g in (0.0, 1.0))
    keys = jax.random.split(jax.random.key(1), 32)
    views, grey = (
        jax.jit(jax.vmap(lambda key, config=config: augment(key, IMAGE, config)))(keys)
        for config in (config, also_grey)
    )
    luma = views @ jnp.array([0.299, 0.587, 0.114], jnp.float32)
    np.testing.assert_allclose(grey[..., 0], luma, atol=1e-3)
    assert len(np.unique(np.asarray(views), axis=0)) == 2


def test_whether_an_operation_is_applied_is_independent_of_the_others():
    keys, image = jax.random.split(jax.random.key(2), 4000), IMAGE[:4, :4]
    applied = []
    for name in ('flip', 'jitter', 'greyscale', 'blur'):
        config = _augment(**(NOTHING | {name: 0.5}))
        views = jax.jit(jax.vmap(lambda key, config=config: augment(key, image, config)))(keys)
        applied.append(np.any(np.asarray(views) != np.asarray(image), axis=(1, 2, 3)))
    # Five standard deviations of 4,000 draws.
    np.testing.assert_allclose(np.corrcoef(applied), np.eye(4), atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(np.mean(applied, axis=1), 0.5, atol=2.5 / np.sqrt(4000))


def test_greyscale_leaves_one_value_a_pixel():
    luma = IMAGE @ jnp.array([0.299, 0.587, 0.114], jnp.float32)
    for view in _one_operation(IMAGE, 'greyscale'):
        np.testing.assert_allclose(view, np.repeat(luma[..., None], 3, axis=-1), atol=1e-3)


def test_blur_keeps_a_constant_image_and_smooths_another():
    constant = jnp.full((12, 12, 3), 0.7, jnp.float32)
    np.testing.assert_allclose(_one_operation(constant, 'blur'), 0.7, rtol=1e-5)
    blurred = _one_operation(IMAGE, 'blur')
    assert (blurred.std(axis=(1, 2, 3)) <= float(IMAGE.std()) + 1e-6).all()
    assert blurred.std(axis=(1, 2, 3)).min() < 0.6 * float(IMAGE.std())


def test_the_blur_of_a_point_is_gaussian_and_its_sigma_within_bounds():
    point = jnp.zeros((25, 25, 3)).at[12, 12].set(1)
    views = _one_operation(point, 'blur', blur_sigma=1.5).astype(np.float64)
    for line in (views[:, 12, 12:, 0], views[:, 12:, 12, 0]):
        # A Gaussian falls by the factor exp(-1 / (2 sigma^2)) from its centre to the next pixel.
        sigma = 1 / np.sqrt(2 * np.log(line[:, 0] / line[:, 1]))
        assert 0.1 - 1e-6 <= sigma.min() < 0.3
        assert 1.3 < sigma.max() <= 1.5 + 1e-6
        # Between the bounds uniformly: 32 draws have a mean within three deviations.
        assert abs(sigma.mean() - 0.8) < 3 * 1.4 / np.sqrt(12 * 32)
        wide = sigma > 0.5
        ratio = line[wide, 0] / line[wide, 2]
        np.testing.assert_allclose(np.log(ratio), 2 / sigma[wide] ** 2, rtol=1e-3)


def test_a_crop_of_a_constant_image_is_constant():
    constant = jnp.full((12, 12, 3), 0.4, jnp.float32)
    np.testing.assert_allclose(_one_operation(constant, 'crop', crop=True), 0.4, rtol=1e-4)


def test_a_crop_does_not_overshoot():
    image = jnp.where(IMAGE > 0.5, 1.0, 0.0)
    views = _one_operation(image, 'crop', crop=True)
    assert 0 <= views.min() < views.max() <= 1


def test_a_crop_keeps_the_area_it_was_told():
    # On a ramp from left to right the spread of a view is the width of its crop.
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 32)[None, :, None], (32, 32, 3))
    for smallest in (0.08, 0.8):
        views = _one_operation(ramp, 'crop', crop=True, crop_scale=smallest)
        width = np.ptp(views, axis=(1, 2, 3)) * 31 / 32 + 1 / 32
        # Ratio at most 4 / 3: width at least sqrt(area * 3 / 4). Interpolation blurs the ends.
        assert (width > np.sqrt(smallest * 3 / 4) - 0.06).all()
        assert width.max() <= 1.001
    assert np.ptp(width) > 0.02


@pytest.mark.parametrize('strength', ['brightness', 'contrast', 'saturation', 'hue'])
def test_each_part_of_the_jitter_changes_colours_within_range(strength):
    alone = dict.fromkeys(('brightness', 'contrast', 'saturation', 'hue'), 0.0) | {strength: 0.4}
    views = _one_operation(IMAGE, 'jitter', **alone)
    assert 0 <= views.min() <= views.max() <= 1
    assert not np.isclose(views, IMAGE[None]).all(axis=(1, 2, 3)).any()
    if strength == 'brightness':
        ratio = views.sum(axis=(1, 2, 3)) / float(IMAGE.sum())
        assert (ratio >= 0.6 - 1e-5).all()
        assert (ratio <= 1.4 + 1e-5).all()


STRENGTHS = {'brightness': 0.4, 'contrast': 0.6, 'saturation': 0.5, 'hue': 0.3}


def _changed(image, name, change):
    """One change of an image in NumPy float64, from its formula."""
    if name == 'brightness':
        return (1 + change) * image
    if name == 'hue':
        turned = [
            colorsys.hsv_to_rgb((hue + change) % 1, saturation, value)
            for hue, saturation, value in (colorsys.rgb_to_hsv(*p) for p in image.reshape(-1, 3))
        ]
        return np.reshape(turned, image.shape)
    # Contrast keeps the mean of each channel, and saturation the luma of each pixel (Rec. 601).
    kept = image.mean(axis=(0, 1)) if name == 'contrast' else image @ [[0.299], [0.587], [0.114]]
    return kept + (1 + change) * (image - kept)


@pytest.mark.parametrize('name', STRENGTHS)
def test_each_part_of_the_jitter_is_its_formula(name):
    config = _augment(**(dict.fromkeys(STRENGTHS, 0.0) | {name: STRENGTHS[name]}))
    # No value near 0 or 1, where clipping would hide what is done.
    image = 0.35 + 0.3 * IMAGE
    jitter = jax.jit(lambda numbers: _jitter(numbers, image, config))
    for number in (0.2, 0.9):
        # Its number stands in its own place behind the four of the order, and 0.5 is no change.
        numbers = np.full(8, 0.5, np.float32)
        numbers[4 + list(STRENGTHS).index(name)] = number
        change = STRENGTHS[name] * (2 * number - 1)
        exact = np.clip(_changed(np.asarray(image, np.float64), name, change), 0, 1)
        np.testing.assert_allclose(jitter(numbers), exact, atol=1e-3)


def test_colour_operations_leave_grey_images_grey():
    grey = IMAGE[..., :1]
    views = _one_operation(grey, 'jitter', greyscale=1.0)
    assert views.shape == (32, 12, 12, 1)
    # Brightness and contrast alone: what was ordered stays ordered.
    order = np.argsort(np.asarray(grey).ravel())
    for view in views:
        assert (np.diff(view.ravel()[order]) >= -1e-6).all()


def test_jitter_comes_in_both_orders():
    """Darkening and contrast with clipping in between do not commute: both results turn up."""
    changes = {'hue': 0.0, 'saturation': 0.0, 'brightness': 1.0, 'contrast': 1.0}
    image = jnp.asarray([[[1.0] * 3, [0.8] * 3]], jnp.float32)
    views = _one_operation(image, 'jitter', **changes)[:, 0, :, 0]
    bright, dark = views.T
    # Brightening first clips both pixels to one, and contrast then has nothing to spread: equal.
    # Contrast first spreads them, and some spread is left where the mean is not above one.
    washed_out = (bright == 1) & np.isclose(dark, 1)
    assert washed_out.any()
    assert (~washed_out).any()
