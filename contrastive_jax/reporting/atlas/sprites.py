"""Thumbnails of all samples in one picture.

Axes: n images, h w pixels, c channels.
"""

import base64
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = ['SIDE', 'Sheet', 'sprite_sheet', 'thumbnail']

# Pixels of a thumbnail.
SIDE = 32
# Of more thumbnails than this the picture is compressed with losses: 50,000 would take 100 MB.
_LOSSLESS = 5000
_QUALITY = 70


class Sheet(NamedTuple):
    """A picture of thumbnails, row after row.

    Attributes:
      url: the picture as a `data:` address.
      columns: thumbnails in a row.
      rows: number of rows.
    """

    url: str
    columns: int
    rows: int


def sprite_sheet(images: np.ndarray | Sequence[np.ndarray]) -> Sheet:
    """Scales every image into a square of 32 pixels, its proportions kept, and joins them.

    Args:
      images: n images `[h, w, c]` uint8 of any size, with one or three channels.

    Returns:
      The picture in WebP as a `data:` address, with the numbers of its columns and rows.
    """
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new('RGB', (columns * SIDE, rows * SIDE))
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        thumb = thumbnail(np.asarray(image))
        left, top = (SIDE - thumb.width) // 2, (SIDE - thumb.height) // 2
        sheet.paste(thumb, (column * SIDE + left, row * SIDE + top))
    stream = io.BytesIO()
    sheet.save(stream, 'WEBP', lossless=len(images) <= _LOSSLESS, quality=_QUALITY, method=2)
    text = base64.b64encode(stream.getvalue()).decode()
    return Sheet(f'data:image/webp;base64,{text}', columns, rows)


def thumbnail(image: np.ndarray) -> Image.Image:
    """The image with its longer side scaled to 32 pixels."""
    if image.shape[-1] not in (3, 4):
        image = np.repeat(image[..., :1], 3, axis=-1)
    picture = Image.fromarray(image[..., :3])
    scale = SIDE / max(picture.size)
    size = [max(1, round(length * scale)) for length in picture.size]
    # Small images keep their pixels.
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.resize((size[0], size[1]), how)
