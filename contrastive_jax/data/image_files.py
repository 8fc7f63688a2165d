"""Reads image files: every format that Pillow decodes by itself, as RGB or grey.

`layout` says which files of a folder are read.

Axes: n files.
"""

import contextlib
import functools
import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from contrastive_jax.data.class_folders import Files, some
from contrastive_jax.data.file_tree import formats
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import LoneError, UserError
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import printable

__all__ = [
    'BrokenImage',
    'check_broken',
    'check_shapes',
    'inspect',
    'left_out',
    'read_image',
    'stored',
    'warn_of_range',
]

_GREY = {'1', 'L', 'I', 'I;16', 'I;16B', 'I;16L', 'F'}
_DEEP = _GREY - {'1', 'L'}
# Values of 16 bits are divided by this to get 8.
_DEEP_SCALE = 257
# At most so many files of 16 bits are decoded to find the range of their values. Less than a
# quarter of the full range, 64 of 256 levels, is reported.
_RANGE_FILES = 100
_SMALL_RANGE = 2**16 // 4

# Pillow warns from half of its limit on. Here the limit is a config field, so the user knows it.
warnings.simplefilter('ignore', Image.DecompressionBombWarning)


class BrokenImage(LoneError):
    """An image file that cannot be read; its arguments are the path and the reader's reason.

    With images on disk each process reads its own rows, so one process alone meets the file.
    """

    def __str__(self) -> str:
        """The message."""
        path, reason = self.args
        return (
            f'{path}: cannot be read ({reason}); move it out of the data folder, or set '
            'config.data.skip_broken=True and config.data.stream=False to leave such files out'
        )


@contextlib.contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    # Pillow refuses files above twice this number, and files embedded in others too.
    Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    # Given a path, Pillow maps an uncompressed TIFF, with rows of a wrong length if EXIF turns it.
    with path.open('rb') as file, Image.open(file, formats=formats()) as image:
        yield image


def _is_deep(image: Image.Image) -> bool:
    """Whether the file has 16 bits or more a channel; of colours, Pillow keeps the upper 8 bits."""
    return image.mode in _DEEP or any(';16' in str(tile[3]) for tile in getattr(image, 'tile', ()))


def _decoded(path: Path, max_pixels: int) -> Image.Image:
    """An image as RGB, or as L if it is grey; 16 bits become 8, transparency is dropped.

    Raises:
      BrokenImage: it cannot be read.
    """
    try:
        with _opened(path, max_pixels) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode in _DEEP:
                pixels = np.nan_to_num(np.asarray(image).astype(np.float32)) / _DEEP_SCALE
                return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
            if image.mode in _GREY:
                return image.convert('L')
            # A palette may hold transparency that only RGBA can take over.
            image = image.convert('RGBA') if image.mode in ('P', 'PA', 'LA') else image
            return image.convert('RGB')
    except Exception as error:  # Damaged files make Pillow raise errors of a dozen kinds.
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> BrokenImage:
    reason = f'{type(error).__name__}: {error}'
    if isinstance(error, Image.DecompressionBombError):
        reason += ' If you trust the file, set config.data.max_pixels to its pixels or more'
    return BrokenImage(printable(path), printable(reason))


def read_image(paths: tuple[Path, ...], mode: str, max_pixels: int, index: int) -> Image.Image:
    """The image of one file in a mode, as `StoredImages.read` needs it.

    Args:
      paths: n files.
      mode: 'RGB' or 'L'.
      max_pixels: largest width times height.
      index: of the file.

    Returns:
      The image of 8 bits a channel, turned upright as its EXIF data say.

    Raises:
      BrokenImage: the file cannot be read.
    """
    image = _decoded(paths[index], max_pixels)
    return image if image.mode == mode else image.convert(mode)


class Inspected(NamedTuple):
    """What the headers of image files say.

    Attributes:
      files: the files that are images.
      grey: whether all of them are grey.
      sizes: each width and height, with the first file that has it.
      deep: files with 16 bits or more a channel.
      broken: errors of the files that are no images.
    """

    files: Files
    grey: bool
    sizes: dict[tuple[int, int], Path]
    deep: tuple[Path, ...]
    broken: tuple[BrokenImage, ...]


def inspect(files: Files, where: str, *, skip_broken: bool, max_pixels: int) -> Inspected:
    """Reads the header of every file, which is quick; damaged pixels show when it is decoded.

    Args:
      files: the files to inspect.
      where: the field that named them, for messages.
      skip_broken: leave out files that are no images.
      max_pixels: largest width times height.

    Returns:
      The files that are images, and what their headers say. `broken` is empty without
      `skip_broken`.

    Raises:
      UserError: a file that is no image, or no file that is one.
    """
    grey, good, deep, broken = True, [], [], []
    sizes: dict[tuple[int, int], Path] = {}
    for index, path in enumerate(progress.track(files.paths, 'look at images', unit='image')):
        try:
            with _opened(path, max_pixels) as image:
                grey &= image.mode in _GREY
                sizes.setdefault(image.size, path)
                if _is_deep(image):
                    deep.append(path)
            good.append(index)
        except Exception as error:  # As in `_decoded`.
            broken.append(_broken(path, error))
    check_broken(broken, skip_broken)
    if not good:
        raise UserError(f'{where}: no file can be read; the first is {broken[0]}')
    return Inspected(some(files, np.array(good)), grey, sizes, tuple(deep), tuple(broken))


def stored(
    inspected: Inspected, root: Path, *, grey: bool, size: int, max_pixels: int
) -> StoredImages:
    """The images of some files, to be scaled and cropped to squares of one size and mode."""
    paths = inspected.files.paths
    digest = hashlib.sha256(f'{size} {grey}\n'.encode())
    for path in paths:
        # Bytes, because a file name need not be valid text.
        digest.update(os.fsencode(path.relative_to(root)) + b' %d\n' % path.stat().st_size)
    return StoredImages(
        functools.partial(read_image, paths, 'L' if grey else 'RGB', max_pixels),
        np.arange(len(paths)),
        digest.hexdigest(),
        size,
        1 if grey else 3,
    )


def warn_of_range(deep: Sequence[Path], max_pixels: int) -> None:
    """Prints a warning if images of 16 bits lose most of their levels, or values beyond 16 bits.

    Every 16-bit value is divided by 257. A scale for each image would change their relative
    brightness.

    Args:
      deep: files with 16 bits or more a channel; at most 100 of them are decoded.
      max_pixels: largest width times height.
    """
    step = max(1, -(-len(deep) // _RANGE_FILES))
    looked_at = (_range(path, max_pixels) for path in deep[::step])
    ranges = [ends for ends in looked_at if ends is not None]
    if not ranges:
        return
    low, high = min(ends[0] for ends in ranges), max(ends[1] for ends in ranges)
    # The negation makes NaN count as out of range.
    if not (low >= 0 and high <= 65535):
        effect = 'what is beyond 0 to 65535 is cut off'
    elif high - low < _SMALL_RANGE:
        effect = f'{int((high - low) / _DEEP_SCALE) + 1} of 256 levels are left'
    else:
        return
    print(
        f'warning: {len(deep)} images have 16 bits or more, and the values of {len(ranges)} looked '
        f'at are {low:g} to {high:g}. Values are divided by {_DEEP_SCALE}: {effect}. To keep more, '
        'scale all files by one factor to 0 to 65535, or save them with 8 bits'
    )


def _range(path: Path, max_pixels: int) -> tuple[float, float] | None:
    """Smallest and largest value of a file of 16 bits; None if it cannot be read."""
    try:
        with _opened(path, max_pixels) as image:
            scale = 1 if image.mode in _DEEP else _DEEP_SCALE
            pixels = np.asarray(image)
            return float(pixels.min()) * scale, float(pixels.max()) * scale
    except Exception:  # As in `_decoded`; the error is reported when the image is loaded.
        return None


def check_broken(broken: Sequence[BrokenImage], skip: bool) -> None:
    """Raises UserError if there are broken files and `skip` is False."""
    if broken and not skip:
        path, reason = broken[0].args
        raise UserError(
            f'{path}: is no image that can be read ({reason}) ({len(broken)} such '
            f'file{"s" * (len(broken) > 1)}); move it '
            'out of the data folder, or set config.data.skip_broken=True to leave such files out; '
            'more may be found when the pixels are decoded'
        )


def left_out(broken: Sequence[BrokenImage]) -> str:
    """A line with the number of broken files left out and the error of the first one."""
    path, reason = broken[0].args
    files = '1 file that' if len(broken) == 1 else f'{len(broken)} files that'
    return f'left out: {files} cannot be read; the first is {path} ({reason})'


def check_shapes(sizes: dict[tuple[int, int], Path]) -> int:
    """The side of the images; raises UserError unless all are squares of one size."""
    (first, path), *others = sizes.items()
    if others:
        size, other = others[0]
        raise UserError(
            f'{printable(other)}: is {size[0]} x {size[1]} pixels, and {printable(path)} '
            f'{first[0]} x {first[1]}; set config.data.image_size to scale and crop them all'
        )
    if first[0] != first[1]:
        raise UserError(
            f'{printable(path)}: is {first[0]} x {first[1]} pixels; set config.data.image_size to '
            'cut squares'
        )
    return first[0]
