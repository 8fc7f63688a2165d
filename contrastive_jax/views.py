"""Draws the augmented views that a config makes of a few images, to look at before training.

python -m contrastive_jax.views --config=configs/digits.py --out=views.png
"""

from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from contrastive_jax.config import validate
from contrastive_jax.data import sources
from contrastive_jax.data.sampling import representative
from contrastive_jax.randomness import KeyUse, device_key
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
    images = train.images[representative(len(train.images), _IMAGES, train.labels, config.seed)]
    view = jax.jit(lambda key: two_views(key, images, config.augment)[: len(images)])
    keys = jax.random.split(device_key(KeyUse.PICTURES_OF_VIEWS, config.seed), _VIEWS)
    # Imported here, because matplotlib takes a second, and the errors above do not need it.
    from contrastive_jax.reporting.galleries import view_gallery

    save(view_gallery(images, [np.asarray(view(key)) for key in keys]), path)
    print(f'drawn in {path}')


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
