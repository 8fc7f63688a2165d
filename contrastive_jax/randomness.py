"""Every random stream of the package and its benchmarks, so that no two uses share one.

On the host, a stream belongs to a use, the seed of the run, and counters such as the epoch. NumPy
pads a list of seeds with zeros, so that `default_rng([s])` and `default_rng([s, 0])` are one
stream; here use and counters are the `spawn_key` of a `SeedSequence`, which keeps them apart from
a seed of any size and from each other.

On the device, the key of a seed is folded with a `KeyUse`. What is below that key folds it with a
counter (a step, or an index in the batch), or with a `KeyTag`, which is above all counters.
"""

import enum

import jax
import numpy as np
from jaxtyping import Array, Key

__all__ = [
    'HOST_STREAMS',
    'STREAMS',
    'KeyTag',
    'KeyUse',
    'Use',
    'check_seed',
    'device_key',
    'host_rng',
    'legacy_rng',
]

# The edition of all streams. A run keeps it with its images: a run that was begun under another
# edition drew its batches or views otherwise. Raise it with every change of what a stream yields.
STREAMS = 3
# The edition that last changed a stream of the host, such as which images are held out or mixed.
HOST_STREAMS = 2


class Use(enum.IntEnum):
    """What a stream of the host is for. A number is never used again, even when its use is gone."""

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
    CALIBRATION = 17
    BENCHMARK_DATA = 18
    BENCHMARK_FOLDS = 19
    SCALING_SUBSET = 20
    SCALING_BOOTSTRAP = 21
    LANDMARKS = 30
    LANDMARK_STUDY = 31
    ATLAS_SAMPLE = 60
    ATLAS_MAP = 62
    VERDICT_STUDY = 61
    PICTURES_OF_CROPS = 63


class KeyUse(enum.IntEnum):
    """What a key of the device is for: what the key of a seed is folded with."""

    MODEL = 0
    RUN = 1
    VERIFIER_MODEL = 2
    VERIFIER_STEPS = 3
    VERIFIER_VIEWS = 4
    VERIFIER_TEST_VIEWS = 5
    DENOISING_GUESS = 6
    DENOISING_GUESSES = 7
    PICTURES_OF_VIEWS = 8
    DETECTOR_VIEWS = 9
    BENCHMARK_DATA = 10
    BENCHMARK_VIEWS = 11
    MONITOR_VIEWS = 12
    PUSH_STUDY = 13


class KeyTag(enum.IntEnum):
    """What the key of a run or of a step is folded with besides counters, which stay below."""

    QUEUE = 2**31 - 1
    SHUFFLE = 2**31 - 2
    THINKING_STEPS = 2**31 - 3


def check_seed(seed: int) -> None:
    """Raises ValueError for a seed that is no whole number, or negative."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f'seed={seed!r}: must be a whole number from 0 up')


def host_rng(use: Use, seed: int, *counters: int) -> np.random.Generator:
    """Returns the generator of one use on the host.

    Args:
      use: what the numbers are for.
      seed: of the run, at least 0; or 0 where the draw is the same for all runs.
      *counters: epoch, step, draw or row, each from 0 to 2**32 - 1.

    Raises:
      ValueError: a seed that is no whole number, or negative.
    """
    check_seed(seed)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(use, *counters)))


def legacy_rng(use: Use, seed: int, *counters: int) -> np.random.RandomState:
    """Returns the stream of `host_rng` for a library that takes no `Generator`."""
    return np.random.RandomState(host_rng(use, seed, *counters).bit_generator)


def device_key(use: KeyUse, seed: int) -> Key[Array, '']:
    """Returns the key of one use on the device.

    Args:
      use: what the key is for.
      seed: of the run, from 0 to 2**32 - 1.
    """
    return jax.random.fold_in(jax.random.key(seed), use)
