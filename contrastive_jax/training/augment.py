"""The SimCLR augmentation, on the device, each image by its own random numbers.

Images are float32 in [0, 1] between the operations; strengths and probabilities come from
`config.augment`. Written for one image and mapped over the batch.

Axes: b images, h w pixels, c channels (3, or 1 for grey images).
Source: Chen et al. 2020, Appendix A.
"""

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

__all__ = ['augment', 'two_views']

# Width over height of a crop.
_RATIOS = (3 / 4, 4 / 3)
_CROP_TRIES = 10


def two_views(
    key: Key[Array, ''],
    images: UInt8[Array | np.ndarray, 'b *crops h w c'],
    config,
    first: int | Int[Array, ''] = 0,
) -> Float[Array, '2*b h w c']:
    """Augments each image twice: all of view 1, then all of view 2.

    The random numbers of an image depend on its place in the global batch alone, so that the views
    are the same on any number of devices.

    Args:
      key: of this step.
      images: `[b, h, w, c]`, those of this device; or `[b, 2, h, w, c]`, both crops of each image,
        which have been taken already.
      config: the section `augment` of a config.
      first: place of the first of them in the global batch.

    Returns:
      `[2b, h, w, c]` in [0, 1].
    """
    keys = jax.vmap(lambda place: jax.random.split(jax.random.fold_in(key, place)))(
        first + jnp.arange(len(images))
    )
    pictures = images.astype(jnp.float32) / 255
    cropped = pictures.ndim == 5
    views = jax.vmap(lambda key, image: augment(key, image, config, cropped=cropped))
    return jnp.concatenate(
        [views(keys[:, view], pictures[:, view] if cropped else pictures) for view in (0, 1)]
    )


def augment(
    key: Key[Array, ''], image: Float[Array, 'h w c'], config, *, cropped: bool = False
) -> Float[Array, 'h w c']:
    """One random view of one image: crop, flip, colour jitter, greyscale, blur.

    An operation whose probability or strength is zero is not compiled. Grey images keep brightness
    and contrast; saturation, hue and greyscale mean nothing to them.

    Args:
      key: of this view.
      image: `[h, w, c]` in [0, 1].
      config: the section `augment` of a config.
      cropped: the image is a crop already.

    Returns:
      `[h, w, c]` in [0, 1].
    """
    crop_key, flip_key, jitter_key, grey_key, blur_key = jax.random.split(key, 5)
    colour = image.shape[-1] == 3
    if config.crop and not cropped:
        image = _crop(crop_key, image, config.crop_scale)
    if config.flip:
        image = _maybe(flip_key, config.flip, image, lambda key, x: x[:, ::-1])
    if config.jitter:
        image = _maybe(jitter_key, config.jitter, image, lambda key, x: _jitter(key, x, config))
    if config.greyscale and colour:
        image = _maybe(grey_key, config.greyscale, image, lambda key, x: _grey(x))
    if config.blur:
        image = _maybe(blur_key, config.blur, image, lambda key, x: _blur(key, x, config))
    return image


def _maybe(key, probability, image, operation):
    """Applies the operation with a probability; under `vmap` both sides are computed anyway."""
    choice_key, key = jax.random.split(key)
    chosen = jax.random.bernoulli(choice_key, probability)
    return jnp.where(chosen, operation(key, image), image)


def _crop(key, image, smallest):
    """Random resized crop with bicubic interpolation.

    Area uniform in [smallest, 1], ratio log-uniform in [3/4, 4/3]. Of ten tries the first that fits
    counts; where none does, the whole image.
    """
    height, width, _ = image.shape
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = height * width * jax.random.uniform(area_key, _CROP_TRIES, minval=smallest)
    low, high = (jnp.log(ratio) for ratio in _RATIOS)
    ratio = jnp.exp(jax.random.uniform(ratio_key, _CROP_TRIES, minval=low, maxval=high))
    sizes = jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)], axis=-1)
    whole = jnp.array([height, width], jnp.float32)
    fits = jnp.all(sizes <= whole[None], axis=-1)
    size = jnp.where(jnp.any(fits), sizes[jnp.argmax(fits)], whole)
    corner = jax.random.uniform(place_key, (2,)) * (whole - size)
    scale = whole / size
    crop = jax.image.scale_and_translate(
        image, image.shape, (0, 1), scale, -corner * scale, method='cubic', antialias=True
    )
    # Cubic interpolation overshoots at edges.
    return jnp.clip(crop, 0, 1)


def _jitter(key, image, config):
    """Brightness, contrast, saturation and hue, in an order drawn for each image."""
    order_key, *strength_keys = jax.random.split(key, 5)
    # A zero strength, and what grey images have not, leaves no operation behind.
    operations = [(_brightness, config.brightness), (_contrast, config.contrast)]
    if image.shape[-1] == 3:
        operations += [(_saturation, config.saturation), (_hue, config.hue)]
    used = [
        (operation, jax.random.uniform(strength_key, minval=-strength, maxval=strength))
        for (operation, strength), strength_key in zip(operations, strength_keys, strict=False)
        if strength
    ]
    if not used:
        return image

    def apply(image, index):
        branches = [lambda x, f=operation, s=change: f(x, s) for operation, change in used]
        return jnp.clip(lax.switch(index, branches, image), 0, 1), None

    order = jax.random.permutation(order_key, len(used))
    return lax.scan(apply, image, order)[0]


def _brightness(image, change):
    return image * (1 + change)


def _contrast(image, change):
    return pix.adjust_contrast(image, 1 + change)


def _saturation(image, change):
    grey = _grey(image)
    return grey + (1 + change) * (image - grey)


def _hue(image, change):
    with jax.numpy_dtype_promotion('standard'):  # dm-pix multiplies floats by truth values
        return pix.adjust_hue(image, change)


def _grey(image):
    """Luma in all three channels."""
    grey = pix.rgb_to_grayscale(image)
    return jnp.broadcast_to(grey, image.shape)


def _blur(key, image, config):
    """Gaussian blur, sigma uniform in [0.1, blur_sigma] pixels.

    As two small matrix products: an image's own kernel makes `vmap` of a convolution a grouped one,
    which is many times slower. Rows sum to one, so edges do not darken.
    """
    sigma = jax.random.uniform(key, minval=0.1, maxval=config.blur_sigma)

    def kernel(size):
        place = jnp.arange(size, dtype=jnp.float32)
        return jax.nn.softmax(-jnp.square((place[:, None] - place[None]) / sigma) / 2, axis=-1)

    height, width, _ = image.shape
    blurred = jnp.einsum('ih,hwc->iwc', kernel(height), image)
    return jnp.clip(jnp.einsum('jw,iwc->ijc', kernel(width), blurred), 0, 1)
