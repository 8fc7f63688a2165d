"""What a run's folder keeps of its training images, so that its encoder can do without them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.splits import Split
from contrastive_jax.data.stored import checksum, in_memory
from contrastive_jax.errors import UserError
from contrastive_jax.models import Moments, pixel_moments
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import read_json, write_sealed_json

__all__ = [
    'IMAGES',
    'ImageFacts',
    'facts_of',
    'image_facts',
    'keep_image_facts',
    'kept_image_facts',
    'known_image_facts',
    'moments_of',
]

IMAGES = 'images.json'


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
        """The same, of what JSON has."""
        return {'shape': self.shape, **self.moments._asdict(), 'checksum': self.checksum}


def image_facts(construction: Construction) -> ImageFacts:
    """Measures the images that a run trains on."""
    images = construction.split.images
    return ImageFacts(
        tuple(images.shape[1:]),
        pixel_moments(in_memory(images)),
        checksum(construction.whole.images),
    )


def keep_image_facts(workdir: Path, construction: Construction) -> None:
    """Writes them into the folder of a run, once."""
    if not (workdir / IMAGES).exists():
        write_sealed_json(workdir / IMAGES, image_facts(construction).as_json())


def kept_image_facts(workdir: Path) -> ImageFacts | None:
    """What the folder of a run holds of them; None where an earlier version wrote it.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / IMAGES
    if not path.exists():
        return None
    try:
        return facts_of(read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}: damaged; delete it, and it is measured again') from error


def known_image_facts(workdir: Path, construct: Callable[[], Construction]) -> ImageFacts:
    """What is known of the images of a run; where its folder does not say, measured, with a word.

    Args:
      workdir: folder of the run.
      construct: function that returns what the run trains on, called only to measure.
    """
    kept = kept_image_facts(workdir)
    if kept is not None:
        return kept
    progress.say(
        f'{workdir}: was written by a version that did not keep the moments of the pixels; they '
        'are measured from the data once more'
    )
    return image_facts(construct())


def moments_of(workdir: Path, split: Split) -> Moments:
    """Moments of the images that a run trains on: those that its folder holds, or measured."""
    kept = kept_image_facts(workdir)
    return kept.moments if kept else pixel_moments(in_memory(split.images))


def facts_of(content: dict) -> ImageFacts:
    """The inverse of `as_json`.

    Raises:
      KeyError, TypeError, ValueError: what is there is something else.
    """
    height, width, channels = map(int, content['shape'])
    moments = Moments(*(tuple(map(float, content[name])) for name in Moments._fields))
    if not len(moments.mean) == len(moments.std) == channels:
        raise ValueError(f'moments of {len(moments.mean)} channels, and images of {channels}')
    return ImageFacts((height, width, channels), moments, str(content['checksum']))
