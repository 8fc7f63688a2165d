"""Shape, pixel moments and checksum of the training images, which the encoder needs later."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.splits import Split
from contrastive_jax.data.stored import checksum, in_memory
from contrastive_jax.errors import UserError
from contrastive_jax.models import Moments, pixel_moments
from contrastive_jax.runs.names import IMAGES
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import read_json, write_sealed_json

__all__ = [
    'ImageFacts',
    'measure_image_facts',
    'moments_of',
    'parse_image_facts',
    'read_image_facts',
    'read_or_measure_image_facts',
    'write_image_facts',
]


class ImageFacts(NamedTuple):
    """What an encoder has to know of the images that it was trained on.

    Attributes:
      shape: `(h, w, c)` of an image.
      moments: of the pixels.
      checksum: of all images of the training split, as score files hold it.
    """

    shape: tuple[int, int, int]
    moments: Moments
    checksum: str

    def as_json(self) -> dict:
        """The facts as a dict for JSON."""
        return {'shape': self.shape, **self.moments._asdict(), 'checksum': self.checksum}


def measure_image_facts(construction: Construction) -> ImageFacts:
    """Measures the images that a run trains on."""
    images = construction.split.images
    return ImageFacts(
        tuple(images.shape[1:]),
        pixel_moments(in_memory(images)),
        checksum(construction.whole.images),
    )


def write_image_facts(workdir: Path, facts: ImageFacts) -> None:
    """Writes the facts into the folder of a run."""
    write_sealed_json(workdir / IMAGES, facts.as_json())


def read_image_facts(workdir: Path) -> ImageFacts | None:
    """Reads the facts from the folder of a run; None where an earlier version wrote it.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / IMAGES
    if not path.exists():
        return None
    try:
        return parse_image_facts(read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}: damaged; delete it, and it is measured again') from error


def read_or_measure_image_facts(workdir: Path, construct: Callable[[], Construction]) -> ImageFacts:
    """Reads the facts; if the folder of the run has none, measures them and prints a note.

    Args:
      workdir: folder of the run.
      construct: function that returns what the run trains on; only called to measure.

    Returns:
      Shape of an image, moments of the pixels, and checksum of all images of the split.

    Raises:
      UserError: the file of the facts is damaged.
    """
    kept = read_image_facts(workdir)
    if kept is not None:
        return kept
    progress.say(
        f'{workdir}: was written by a version that did not keep the moments of the pixels; they '
        'are measured from the data once more'
    )
    return measure_image_facts(construct())


def moments_of(workdir: Path, split: Split) -> Moments:
    """Moments of the images that a run trains on: those that its folder holds, or measured."""
    kept = read_image_facts(workdir)
    return kept.moments if kept else pixel_moments(in_memory(split.images))


def parse_image_facts(content: dict) -> ImageFacts:
    """The inverse of `as_json`.

    Raises:
      KeyError, TypeError, ValueError: the content is something else.
    """
    height, width, channels = map(int, content['shape'])
    moments = Moments(*(tuple(map(float, content[name])) for name in Moments._fields))
    if not len(moments.mean) == len(moments.std) == channels:
        raise ValueError(f'moments of {len(moments.mean)} channels, and images of {channels}')
    return ImageFacts((height, width, channels), moments, str(content['checksum']))
