"""The encoder of a run as a function of images.

Axes: n images, h w pixels, c channels, k features.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from contrastive_jax.data import sources
from contrastive_jax.data.batches import padded_batches
from contrastive_jax.data.constructions import construct
from contrastive_jax.data.splits import image_cure
from contrastive_jax.errors import UserError
from contrastive_jax.models.frozen import Encode, encoder_function
from contrastive_jax.runs.images import read_or_measure_image_facts
from contrastive_jax.runs.names import ENCODER
from contrastive_jax.runs.weights import (
    Weights,
    check_trained,
    checkpoint_weights,
    read_config,
    read_weights,
)

__all__ = ['Encoder', 'load_encoder', 'load_weights']

# As `extract_features` has it, so that one GPU runs the same program and finds the same bits.
_BATCH = 512
# On CPUs rows that pad a batch take time, and the features of an image do not depend on its batch.
_CPU_ROWS = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen encoder: uint8 images in, float32 features out.

    Attributes:
      config: the whole config of its run; from `encoder.safetensors`, without paths.
      image_shape: `(h, w, c)` of the images that it takes.
      num_features: k.
      step: training steps taken.
    """

    config: ConfigDict = dataclasses.field(repr=False)
    image_shape: tuple[int, int, int]
    num_features: int
    step: int
    _encode: Encode = dataclasses.field(repr=False)

    def __call__(self, images) -> np.ndarray:
        """Features of any number of images, in order.

        Batches are split over the devices of this process and the last one is padded, so that one
        program is compiled. Batch norm uses its running statistics.

        Args:
          images: NumPy or JAX array `[n, h, w, c]` uint8; size and channels as in its training.

        Returns:
          `[n, k]` float32, as `evaluation.extract_features` returns them.

        Raises:
          UserError: images of another type or shape, or a masked array.

        Example:
          >>> import numpy as np
          >>> from contrastive_jax import load_encoder
          >>> encoder = load_encoder('runs/digits')
          >>> encoder(np.zeros((3, 8, 8, 1), np.uint8)).shape
          (3, 512)
        """
        _check_images(images, self.image_shape)
        features = [np.zeros((0, self.num_features), np.float32)]
        for batch, real in padded_batches(np.asarray(images), _batch_size()):
            features.append(np.asarray(self._encode(batch))[:real])
        return np.concatenate(features)


def load_encoder(path: str | Path) -> Encoder:
    """Loads the encoder of a run, without data set and network.

    A folder without `encoder.safetensors` is of a run that trains, or of one that an earlier
    version trained: there the newest checkpoint is read. What an earlier version wrote lacks the
    moments of the pixels; they are measured from the data once more, and a line says so.

    Args:
      path: workdir of a run, or a file `encoder.safetensors`.

    Returns:
      The encoder, a function from uint8 images `[n, h, w, c]` to float32 features `[n, k]`.

    Raises:
      UserError: nothing there, no trained encoder in it, or a file that is damaged, something
        else's or of a newer version.

    Example:
      >>> from contrastive_jax import load_encoder
      >>> encoder = load_encoder('runs/digits')
      >>> encoder.image_shape, encoder.num_features
      ((8, 8, 1), 512)
    """
    weights = load_weights(Path(path).expanduser())
    return Encoder(
        weights.config,
        weights.images.shape,
        weights.num_features,
        weights.step,
        encoder_function(weights.graphdef, weights.params, weights.stats),
    )


def load_weights(path: Path) -> Weights:
    """What `load_encoder` makes its encoder of; arguments and errors are the same."""
    file = path / ENCODER if path.is_dir() else path
    return read_weights(file) if file.exists() or file == path else _newest(path)


def _newest(workdir: Path) -> Weights:
    """Weights of the newest checkpoint of a run."""
    config = read_config(workdir)
    check_trained(workdir)
    images = read_or_measure_image_facts(
        workdir, lambda: construct(config, sources.load(config.data).pretrain)
    )
    return checkpoint_weights(workdir, config, images)


def _batch_size() -> int:
    devices = jax.local_devices()
    if devices[0].platform == 'cpu':
        return _CPU_ROWS * len(devices)
    return -(-_BATCH // len(devices)) * len(devices)


def _check_images(images, wanted: tuple[int, int, int]) -> None:
    """Raises UserError unless the images are uint8 `[n, *wanted]`; says what to do about it."""
    dtype, shape = getattr(images, 'dtype', None), tuple(getattr(images, 'shape', ()))
    # A masked array would count with what is masked.
    masked = isinstance(images, np.ma.MaskedArray)
    if dtype == np.uint8 and len(shape) == 4 and shape[1:] == wanted and not masked:
        return
    array = isinstance(images, np.ndarray | jax.Array) and not masked
    kind = f'{dtype} {list(shape)}' if array else type(images).__name__
    advice = _advice(images, wanted) if array else ': give a NumPy or JAX array'
    raise UserError(
        f'images: {kind}; this encoder takes uint8 [n, {", ".join(map(str, wanted))}] with pixels '
        f'from 0 to 255{advice}'
    )


def _advice(images: np.ndarray | jax.Array, wanted: tuple[int, int, int]) -> str:
    height, width, channels = wanted
    shape = images.shape
    if shape[1:] == (channels, height, width):
        return ': channels come last, so give images.transpose(0, 2, 3, 1)'
    if shape == wanted:
        return ': give images[None] for one image'
    if channels == 1 and len(shape) == 3 and shape[1:] == (height, width):
        return ': give images[..., None] for grey images'
    if len(shape) == 4 and shape[3] != channels:
        kind = {1: 'grey', 3: 'colour'}.get(channels, f'{channels}-channel')
        return f': it was trained on {kind} images'
    if len(shape) == 4 and shape[1:] != wanted:
        return ': resize them as those that it was trained on'
    return image_cure(np.asarray(images)) if shape[1:] == wanted else ''
