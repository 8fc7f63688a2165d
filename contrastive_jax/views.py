"""Draws the augmented views that a config makes of a few images, to look at before training.

python -m contrastive_jax.views --config=configs/digits.py --out=views.png
"""

from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags
from PIL import Image

from contrastive_jax.config import validate
from contrastive_jax.data import sources
from contrastive_jax.data.sampling import representative
from contrastive_jax.data.stored import StoredImages, random_crop
from contrastive_jax.randomness import KeyUse, Use, device_key, host_rng
from contrastive_jax.reporting.style import save
from contrastive_jax.runs.workdir import check_outside_data
from contrastive_jax.runtime import cli
from contrastive_jax.runtime.outputs import check_out, picture_suffixes
from contrastive_jax.training.augmentation import two_views

_IMAGES, _VIEWS = 8, 10


def draw(config: ConfigDict, path: Path, *, overwrite: bool = False) -> None:
    """Writes a picture with one image per row: the original first, then its views.

    The images are a random sample. Where there are labels, they are of different classes.

    Args:
      config: the whole config.
      path: file to write, PNG or any other type that matplotlib knows.
      overwrite: whether to replace an earlier picture.

    Raises:
      UserError: a config or data that cannot be used, a picture that cannot be written.
    """
    check_out(path, suffixes=picture_suffixes(), overwrite=overwrite)
    validate(config)
    check_outside_data(path, '--out', config.data)
    train = sources.load(config.data).train
    chosen = representative(len(train.images), _IMAGES, train.labels, config.seed)
    images = train.images[chosen]
    keys = jax.random.split(device_key(KeyUse.PICTURES_OF_VIEWS, config.seed), _VIEWS)
    crops = None
    if isinstance(train.images, StoredImages) and config.augment.crop:
        crops = jax.numpy.asarray(_crops(train.images.take(chosen), config))

    @jax.jit
    def view(key, number):
        inputs = images if crops is None else crops[number]
        return two_views(key, inputs, config.augment)[: len(images)]

    # Imported here, because matplotlib takes a second, and the errors above do not need it.
    from contrastive_jax.reporting.galleries import view_gallery

    drawn = [np.asarray(view(key, number)) for number, key in enumerate(keys)]
    save(view_gallery(images, drawn), path)
    print(f'drawn in {path}')


def _crops(images: StoredImages, config: ConfigDict) -> np.ndarray:
    """Crops of whole files, as training from disk takes them: `[b, 2, s, s, c]` for each view."""
    files = [images.read(int(index)) for index in images.indices]
    rng = host_rng(Use.PICTURES_OF_CROPS, config.seed)

    def crop(image: Image.Image) -> np.ndarray:
        return random_crop(image, rng, smallest=config.augment.crop_scale, size=images.size)

    # Twice, because the views of an image come in pairs; the second ones are not drawn.
    return np.array([[[crop(image)] * 2 for image in files] for _ in range(_VIEWS)])


if __name__ == '__main__':
    config_flags.DEFINE_config_file('config', None, 'Config file, with :variant.')
    cli.define_common(
        out='Picture to write; views.png by default.', overwrite='Replace an earlier picture.'
    )
    flags.mark_flag_as_required('config')
    cli.run(
        lambda: draw(
            cli.config_of_flags()[0],
            Path(flags.FLAGS.out or 'views.png'),
            overwrite=flags.FLAGS.overwrite,
        )
    )
