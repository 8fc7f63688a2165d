"""Functions that worker processes read images with.

A worker imports the module of its function, so this one imports little.
"""

import numpy as np
from PIL import Image


def noise(place):
    pixels = np.random.default_rng(place).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def one_colour(place):
    """Two shapes, as a folder would give them."""
    shape = (12, 16, 3) if place % 2 else (16, 10, 3)
    return Image.fromarray(np.full(shape, 10 * place, np.uint8))


def unreadable(place):
    raise OSError('cannot identify image file')
