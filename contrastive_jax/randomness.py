"""Every random stream of the host: one number for each use, so that no two uses share a stream.

NumPy pads short seeds with zeros: `default_rng([s])` and `default_rng([s, 0])` are one stream. So
each stream is seeded with `[seed, use, ...]`, where `use` is never 0 and one use always has the
same number of counters behind it.

Streams of the device are keys of JAX: the key of a run, folded with step, use and device.
"""

import enum

import numpy as np

__all__ = ['Use', 'host_rng']


class Use(enum.IntEnum):
    """What a stream is for. Numbers are never used again, also when a use is gone."""

    EPOCH_ORDER = 1
    MIXING = 2
    LONG_TAIL = 3
    CROPS = 4
    RANDOM_SUBSET = 5
    RANDOM_SCORE = 6
    HELD_OUT_FILES = 7
    PIXEL_SAMPLE = 8
    MEASURED_SAMPLE = 9
    VALIDATION = 10
    FEW_LABELS = 11
    BOOTSTRAP = 12
    LATENT_CLASSES = 13
    CORRUPTION = 14
    VERIFIER_ORDER = 15
    VERIFIER_BOOTSTRAP = 16


def host_rng(use: Use, seed: int, *counters: int) -> np.random.Generator:
    """The generator of one use.

    Args:
      use: what the numbers are for.
      seed: of the run, or 0 where the draw is the same for all runs.
      *counters: epoch, step, draw or row; the same number of them at every call of one use.
    """
    return np.random.default_rng([seed, int(use), *counters])
