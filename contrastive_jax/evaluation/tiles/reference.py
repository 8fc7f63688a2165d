"""The rows that anchors are compared with, and whether they lie on the devices.

Axes: n samples, k features, r rows that an anchor is compared with.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from contrastive_jax.data.feature_rows import Rows
from contrastive_jax.data.survey import Survey
from contrastive_jax.evaluation.tiles.plan import TileLayout
from contrastive_jax.graph import tiles
from contrastive_jax.training.devices import map_over_local

__all__ = ['Reference', 'make_reference']


class Reference(NamedTuple):
    """What anchors are compared with.

    Attributes:
      rows: features of all n samples.
      surveyed: their mean, and the landmarks.
      layout: how they are cut.
      index: `[r]` index of each row among all samples, int32.
      by_landmarks: whether the rows were drawn.
      unit: `[devices, r, k]` unit rows on each device; None if they pass over it in blocks.
    """

    rows: Rows
    surveyed: Survey
    layout: TileLayout
    # The field hides `tuple.index`, which nobody calls on these.
    index: np.ndarray  # type: ignore[assignment]
    by_landmarks: bool
    unit: jax.Array | None

    @property
    def centre(self) -> tuple[np.ndarray, np.ndarray]:
        """The two parts of the mean of all rows."""
        return self.surveyed.origin, self.surveyed.mean

    @property
    def tile(self) -> int:
        """Anchors of a tile on all devices of this process."""
        return jax.local_device_count() * self.layout.anchors


def make_reference(
    rows: Rows, surveyed: Survey, layout: TileLayout, drawn: np.ndarray | None
) -> Reference:
    """Puts the rows on the devices if the layout says so.

    Args:
      rows: features of n samples.
      surveyed: what `survey_rows` found, with the landmarks.
      layout: from `plan_tiles`.
      drawn: `[r]` indices of the landmarks, or None to compare with all rows.

    Returns:
      The reference. It holds the unit rows, unless they pass over the devices in blocks.
    """
    index = np.arange(len(rows)) if drawn is None else drawn
    reference = Reference(
        rows, surveyed, layout, index.astype(np.int32), drawn is not None, unit=None
    )
    return reference if layout.streamed else reference._replace(unit=_put(reference))


def _put(reference: Reference) -> jax.Array:
    """Unit rows on every device, `[devices, r, k]`."""
    put = map_over_local(tiles.put_rows, (0, None, None, None, None), donate=(0,))
    shape = len(reference.index), reference.rows.width
    make = map_over_local(lambda _: jnp.zeros(shape, jnp.float32), (0,))
    buffer, start = make(np.zeros(jax.local_device_count(), np.float32)), 0
    for block in _blocks(reference):
        buffer = put(buffer, block, np.int32(start), *reference.centre)
        start += len(block)
    return buffer


def _blocks(reference: Reference) -> Iterator[np.ndarray]:
    size, chosen = reference.layout.block, reference.surveyed.chosen
    if not reference.by_landmarks:
        yield from reference.rows.blocks(size)
        return
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]
