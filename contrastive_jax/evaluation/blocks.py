"""Labelled features that a probe uses: in blocks, and spread over devices where they are many.

Axes: n samples, k features; b blocks, d devices, s samples of a block on a device.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

__all__ = ['SPREAD', 'Blocks', 'beside', 'block_shape', 'lay_out']

# Fewer bytes of features stay on one device: then the number of devices changes no bit of a result.
_SPREAD_BYTES = 1 << 30
# Logits of a block on one device, which a fit holds a few times: 256 MiB each.
_BLOCK_LOGITS = 1 << 26
SPREAD = P(None, 'devices')


class Blocks(NamedTuple):
    """Samples in blocks; zeros that do not count fill up the last ones.

    Functions of a block, or of its part on one device, get slices without the leading axes.

    Attributes:
      features: `[b, d, s, k]`, each `d` on a device of its own.
      labels: `[b, d, s]` class of each sample.
      counted: `[b, d, s]` 1 for a sample, 0 for what fills up.
    """

    features: Float[Array, '*lead k']
    labels: Int[Array, '*lead']
    counted: Float[Array, '*lead']


def lay_out(
    parts: Sequence[tuple[Float[np.ndarray, '_ k'], Int[np.ndarray, ' _']]], num_classes: int
) -> list[Blocks]:
    """Puts the samples of several parts on the devices of this process.

    A block has so few samples that its logits take at most 256 MiB on a device. Parts with more
    than 1 GiB of features together are spread over all devices, others are on the first one.

    Args:
      parts: features `[n, k]` and labels `[n]` of each part.
      num_classes: number of classes, for the size of a block; 1 where no logits are made.

    Returns:
      The blocks of each part, in order. Features and labels keep their types.
    """
    few = sum(features.nbytes for features, _ in parts) <= _SPREAD_BYTES
    devices = jax.local_devices()[:1] if few else jax.local_devices()
    return [_laid_out(features, labels, num_classes, devices) for features, labels in parts]


def beside(arrays: Any, blocks: Blocks) -> Any:
    """Copies arrays to every device that holds a part of the blocks."""
    sharding = blocks.labels.sharding
    assert isinstance(sharding, NamedSharding)
    return jax.device_put(arrays, NamedSharding(sharding.mesh, P()))


def block_shape(n: int, num_classes: int, devices: int) -> tuple[int, int, int]:
    """The shape `(b, d, s)` that holds n samples."""
    own = -(-n // devices)
    blocks = -(-own * num_classes // _BLOCK_LOGITS)
    return blocks, devices, -(-own // blocks)


def _laid_out(
    features: np.ndarray, labels: np.ndarray, num_classes: int, devices: list[jax.Device]
) -> Blocks:
    shape = block_shape(len(features), num_classes, len(devices))
    counted = np.ones(len(features), np.float32)
    return Blocks(*(_spread(values, shape, devices) for values in (features, labels, counted)))


def _spread(
    values: np.ndarray, shape: tuple[int, int, int], devices: list[jax.Device]
) -> jax.Array:
    """Cuts `[n, ...]` into consecutive samples for each device, the last ones filled up."""
    blocks, _, samples = shape
    own = blocks * samples
    slices = []
    for index, device in enumerate(devices):
        part = values[own * index : own * (index + 1)]
        missing = np.zeros((own - len(part), *values.shape[1:]), values.dtype)
        filled = np.concatenate([part, missing]) if len(missing) else part
        slices.append(jax.device_put(filled.reshape(blocks, 1, samples, *values.shape[1:]), device))
    sharding = NamedSharding(Mesh(np.array(devices), ('devices',)), SPREAD)
    whole = (*shape, *values.shape[1:])
    return jax.make_array_from_single_device_arrays(whole, sharding, slices)
