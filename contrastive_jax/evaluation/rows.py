"""Labelled features that a probe is fitted on: in blocks, and over devices where they are many.

Axes: n samples, k features; d devices, b blocks of a device, s samples of a block.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

__all__ = ['Rows', 'block_shape', 'lay_out']

# Fewer bytes of features stay on one device: then the number of devices changes no bit of a result.
_SPREAD_BYTES = 1 << 30
# Logits of a block, which a fit holds a few times: 256 MiB each.
_BLOCK_LOGITS = 1 << 26


class Rows(NamedTuple):
    """Samples in blocks. The last one is filled up with zeros that do not count.

    Attributes:
      features: `[d, b, s, k]`, one slice on each device.
      labels: `[d, b, s]` class of each sample.
      counted: `[d, b, s]` 1 for a sample, 0 for what fills up the last block.
    """

    features: Float[Array, '*r d b s k']
    labels: Int[Array, '*r d b s']
    counted: Float[Array, '*r d b s']


def lay_out(
    features: Float[np.ndarray, 'n k'], labels: Int[np.ndarray, ' n'], num_classes: int
) -> Rows:
    """Puts all samples on the devices of this process.

    A block has so few samples that its logits take at most 256 MiB. Features of more than 1 GiB
    are spread over the devices, others are on the first one.

    Args:
      features: features `[n, k]`; nothing is copied where one block on one device holds them.
      labels: labels `[n]`.
      num_classes: number of classes, for the size of a block.
    """
    few = features.nbytes <= _SPREAD_BYTES
    devices = jax.local_devices()[:1] if few else jax.local_devices()
    shape = block_shape(len(features), num_classes, len(devices))
    counted = np.ones(len(features), np.float32)
    return Rows(*(_spread(values, shape, devices) for values in (features, labels, counted)))


def block_shape(n: int, num_classes: int, devices: int) -> tuple[int, int, int]:
    """The shape `(d, b, s)` that holds n samples."""
    own = -(-n // devices)
    blocks = -(-own * num_classes // _BLOCK_LOGITS)
    return devices, blocks, -(-own // blocks)


def _spread(values: np.ndarray, shape: tuple[int, ...], devices: list[jax.Device]) -> jax.Array:
    """Cuts `[n, ...]` into one slice for each device, and fills the last ones up with zeros."""
    own = shape[1] * shape[2]
    slices = []
    for index, device in enumerate(devices):
        part = values[own * index : own * (index + 1)]
        missing = np.zeros((own - len(part), *values.shape[1:]), values.dtype)
        filled = np.concatenate([part, missing]) if len(missing) else part
        slices.append(jax.device_put(filled.reshape(1, *shape[1:], *values.shape[1:]), device))
    sharding = NamedSharding(Mesh(np.array(devices), ('rows',)), PartitionSpec('rows'))
    whole = (*shape, *values.shape[1:])
    return jax.make_array_from_single_device_arrays(whole, sharding, slices)
