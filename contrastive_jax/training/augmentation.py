"""The SimCLR augmentation. It runs on the device, and each view has its own random key.

Between the operations, images are float32 in [0, 1]. The config section `augment` holds strengths
and probabilities. Each function takes one image, and `two_views` maps over the batch.

All random numbers of a view are drawn at once, and each operation has its own part of them. Usually
each operation has a key of its own. Most of the program would then be code for random numbers, and
it would take several times as long to compile.

Axes: b images, h w pixels, c channels (3, or 1 for grey images).
Source: Chen et al. 2020, Appendix A.
"""

from functools import partial

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict

__all__ = ['augment', 'two_views']

# Smallest and largest ratio of width to height of a crop.
_RATIOS = (3 / 4, 4 / 3)
_CROP_TRIES = 10
# How many random numbers each operation uses. A crop: an area and a ratio for each try, and the
# corner. All others begin with one that decides whether they are applied. Jitter goes on with a
# place in the order and a strength for each of four changes.
_NUMBERS = {'crop': 2 * _CROP_TRIES + 2, 'flip': 1, 'jitter': 1 + 2 * 4, 'greyscale': 1, 'blur': 2}


@jax.named_scope('augmentation')
def two_views(
    key: Key[Array, ''],
    images: UInt8[Array | np.ndarray, 'b *crops h w c'],
    augmentation: ConfigDict,
    first: int | Int[Array, ''] = 0,
) -> Float[Array, '2*b h w c']:
    """Augments each image twice and returns all first views, then all second views.

    The random numbers of an image depend only on the key and on the index of the image in the
    global batch. So the views are the same on any number of devices.

    Args:
      key: random key of this step.
      images: `[b, h, w, c]` uint8 images of this device; or `[b, 2, h, w, c]`, two crops of each
        image, which are not cropped again.
      augmentation: section `augment` of a config.
      first: index of this device's first image in the global batch.

    Returns:
      `[2b, h, w, c]` float32 in [0, 1].
    """
    keys = jax.vmap(lambda place: jax.random.split(jax.random.fold_in(key, place)), out_axes=1)(
        first + jnp.arange(len(images))
    )
    cropped = images.ndim == 5
    both = (images[:, 0], images[:, 1]) if cropped else (images, images)
    pixels = jnp.concatenate(both).astype(jnp.float32) / 255
    view = partial(augment, augmentation=augmentation, cropped=cropped)
    return jax.vmap(view)(keys.ravel(), pixels)


def augment(
    key: Key[Array, ''],
    image: Float[Array, 'h w c'],
    augmentation: ConfigDict,
    *,
    cropped: bool = False,
) -> Float[Array, 'h w c']:
    """Makes one random view of an image by crop, flip, colour jitter, greyscale and blur.

    An operation with probability or strength zero is not compiled. Images with one channel get
    changes of brightness and contrast, but none of saturation, hue and greyscale.

    Args:
      key: random key of this view.
      image: `[h, w, c]` in [0, 1].
      augmentation: section `augment` of a config.
      cropped: whether the image is a crop already.

    Returns:
      `[h, w, c]` in [0, 1].
    """
    *ends, count = np.cumsum(list(_NUMBERS.values())).tolist()
    numbers = jnp.split(jax.random.uniform(key, (count,)), ends)
    for_crop, for_flip, for_jitter, for_grey, for_blur = numbers
    colour = image.shape[-1] == 3
    if augmentation.crop and not cropped:
        image = _crop(for_crop, image, augmentation.crop_scale)
    if augmentation.flip:
        image = _maybe(for_flip, augmentation.flip, image, lambda _, x: x[:, ::-1])
    if augmentation.jitter:
        jitter = partial(_jitter, augmentation=augmentation)
        image = _maybe(for_jitter, augmentation.jitter, image, jitter)
    if augmentation.greyscale and colour:
        image = _maybe(for_grey, augmentation.greyscale, image, lambda _, x: _grey(x))
    if augmentation.blur:
        blur = partial(_blur, largest=augmentation.blur_sigma)
        image = _maybe(for_blur, augmentation.blur, image, blur)
    return image


def _maybe(numbers, probability, image, operation):
    """Applies an operation with the given probability, which the first number decides.

    Under `vmap`, JAX computes both outcomes, so a `lax.cond` would save nothing.
    """
    return jnp.where(numbers[0] < probability, operation(numbers[1:], image), image)


def _between(numbers, low, high):
    """Stretches numbers in [0, 1) to [low, high)."""
    return low + (high - low) * numbers


def _crop(numbers, image, smallest):
    """Random resized crop with bicubic interpolation; the numbers are in [0, 1).

    The share of the area is uniform in [smallest, 1], and the ratio log-uniform in [3/4, 4/3]. The
    first of ten tries that fits into the image is used. If none fits, the image is not cropped.
    """
    height, width, _ = image.shape
    for_area, for_ratio, for_corner = jnp.split(numbers, [_CROP_TRIES, 2 * _CROP_TRIES])
    area = height * width * _between(for_area, smallest, 1)
    ratio = jnp.exp(_between(for_ratio, *np.log(_RATIOS, dtype=np.float32)))
    sizes = jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)], axis=-1)
    full_size = jnp.array([height, width], jnp.float32)
    fits = jnp.all(sizes <= full_size[None], axis=-1)
    size = jnp.where(jnp.any(fits), sizes[jnp.argmax(fits)], full_size)
    corner = for_corner * (full_size - size)
    scale = full_size / size
    crop = jax.image.scale_and_translate(
        image, image.shape, (0, 1), scale, -corner * scale, method='cubic', antialias=True
    )
    # Cubic interpolation overshoots at edges.
    return jnp.clip(crop, 0, 1)


def _jitter(numbers, image, augmentation: ConfigDict):
    """Changes brightness, contrast, saturation and hue, in a random order for each image."""
    for_order, for_strength = jnp.split(numbers, 2)
    # Operations of strength zero, and of colour on grey images, are not compiled.
    operations = [(_brightness, augmentation.brightness), (_contrast, augmentation.contrast)]
    if image.shape[-1] == 3:
        operations += [(_saturation, augmentation.saturation), (_hue, augmentation.hue)]
    used = [
        (operation, _between(number, -strength, strength))
        for (operation, strength), number in zip(operations, for_strength, strict=False)
        if strength
    ]
    if not used:
        return image

    def apply(image, index):
        branches = [lambda x, f=operation, s=change: f(x, s) for operation, change in used]
        return jnp.clip(lax.switch(index, branches, image), 0, 1), None

    return lax.scan(apply, image, jnp.argsort(for_order[: len(used)]))[0]


def _brightness(image, change):
    return image * (1 + change)


def _contrast(image, change):
    return pix.adjust_contrast(image, 1 + change)


def _saturation(image, change):
    grey = _grey(image)
    return grey + (1 + change) * (image - grey)


def _hue(image, change):
    with jax.numpy_dtype_promotion('standard'):  # dm-pix multiplies floats by booleans
        return pix.adjust_hue(image, change)


def _grey(image):
    """Copies the luma to all three channels."""
    grey = pix.rgb_to_grayscale(image)
    return jnp.broadcast_to(grey, image.shape)


def _blur(numbers, image, largest: float):
    """Gaussian blur with sigma uniform in [0.1, largest] pixels.

    The blur is two small matrix products. Each image has its own kernel, and with that `vmap` turns
    a convolution into a grouped one, which is many times slower. The rows of each matrix sum to
    one, so the edges of the image do not darken.
    """
    sigma = _between(numbers[0], 0.1, largest)

    def kernel(size):
        pixel = jnp.arange(size, dtype=jnp.float32)
        return jax.nn.softmax(-jnp.square((pixel[:, None] - pixel[None]) / sigma) / 2, axis=-1)

    height, width, _ = image.shape
    blurred = jnp.einsum('ih,hwc->iwc', kernel(height), image)
    return jnp.clip(jnp.einsum('jw,iwc->ijc', kernel(width), blurred), 0, 1)
