"""What the viewer Embedding Atlas shows of samples: places, neighbours, images and names.

Source: https://apple.github.io/embedding-atlas/tool.html describes the columns.

Axes: n samples, c neighbours.
"""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from contrastive_jax.data.stored import StoredImages
from contrastive_jax.evaluation.samples import Options, Samples
from contrastive_jax.graph.neighbours import find_neighbours
from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.reporting.atlas.build import class_names, small
from contrastive_jax.reporting.atlas.content import project
from contrastive_jax.reporting.atlas.sprites import thumbnail
from contrastive_jax.reporting.style import one_line

__all__ = ['view_columns']

_NEIGHBOURS = 15


def view_columns(samples: Samples, options: Options, verdict: np.ndarray) -> pa.Table:
    """Columns for Embedding Atlas, a row for each sample.

    Args:
      samples: n samples, at least two.
      options: the difficult band.
      verdict: `[n]` index into `VERDICTS`.

    Returns:
      `projection_x` and `projection_y`, places on a map; `neighbors`, lists of `ids` (rows, from 0)
      and `distances` (1 - cosine); `verdict_name`; with labels `class`; with images `image`, a PNG
      of at most 32 pixels.
    """
    place, _ = project(np.asarray(samples.features), 'auto', samples.seed)
    near = find_neighbours(samples.features, **options.band(), count=_NEIGHBOURS)
    columns = {
        'projection_x': pa.array(place[:, 0].astype(np.float32)),
        'projection_y': pa.array(place[:, 1].astype(np.float32)),
        'neighbors': pa.StructArray.from_arrays(
            [_lists(near.nearest.astype(np.int64)), _lists(1 - near.similarity)],
            ['ids', 'distances'],
        ),
        'verdict_name': pa.array([VERDICTS[code] for code in verdict]),
    }
    if (names := class_names(samples)) is not None:
        columns['class'] = pa.array([one_line(name) for name in names])
    if samples.images is not None:
        columns['image'] = _pictures(samples.images, samples.files)
    return pa.table(columns)


def _lists(rows: np.ndarray) -> pa.Array:
    """`[n, c]` as n lists."""
    starts = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(starts, rows.ravel())


def _pictures(images: np.ndarray | StoredImages, files: Sequence[str] | None) -> pa.Array:
    """PNG files of thumbnails, as Hugging Face data sets hold them."""
    data, shown = [], small(images)
    for image in () if shown is None else shown:
        stream = io.BytesIO()
        thumbnail(np.asarray(image)).save(stream, 'PNG')
        data.append(stream.getvalue())
    paths = [None] * len(data) if files is None else [one_line(name) for name in files]
    return pa.StructArray.from_arrays(
        [pa.array(data, pa.binary()), pa.array(paths, pa.string())], ['bytes', 'path']
    )
