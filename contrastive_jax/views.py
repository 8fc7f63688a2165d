"""Draws what the augmentation of a config makes of a few images: look before you train.

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
from contrastive_jax.runtime import cli
from contrastive_jax.runtime.files import write_whole
from contrastive_jax.runtime.outputs import check_out, picture_suffixes
from contrastive_jax.training.augment import two_views

_IMAGES, _VIEWS = 8, 10


def draw(config: ConfigDict, path: Path, *, overwrite: bool = False) -> None:
    """Writes a picture: one image a row, the original first and then its views.

    The images are a random sample, where there are labels of different classes.

    Args:
      config: the whole config.
      path: of the picture, PNG or any other type that matplotlib knows.
      overwrite: whether to replace an earlier picture.

    Raises:
      UserError: a config or data that cannot be used, a picture that cannot be written.
    """
    import matplotlib.pyplot as plt

    check_out(path, suffixes=picture_suffixes(), overwrite=overwrite)
    validate(config)
    train = sources.load(config.data).train
    images = train.images[representative(len(train.images), _IMAGES, train.labels, config.seed)]
    view = jax.jit(lambda key: two_views(key, images, config.augment)[: len(images)])
    keys = jax.random.split(device_key(KeyUse.PICTURES_OF_VIEWS, config.seed), _VIEWS)
    columns = [images / 255.0, *(np.asarray(view(key)) for key in keys)]
    figure, axes = plt.subplots(
        len(images),
        len(columns),
        figsize=(len(columns), len(images)),
        layout='constrained',
        squeeze=False,
    )
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(pictures):
            axes[row, column].imshow(picture.squeeze(), cmap='gray', vmin=0, vmax=1)
            axes[row, column].set_axis_off()
    axes[0, 0].set_title('image', fontsize=9)
    axes[0, 1].set_title('views', fontsize=9)
    kind = path.suffix[1:].lower()
    write_whole(path, lambda file: figure.savefig(file, dpi=100, format=kind))
    plt.close(figure)


if __name__ == '__main__':
    config_flags.DEFINE_config_file('config', None, 'Config file, with :variant.')
    _OUT = flags.DEFINE_string('out', 'views.png', 'Picture to write.')
    _OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace an earlier picture.')
    flags.mark_flag_as_required('config')
    cli.run(lambda: draw(cli.config_of_flags()[0], Path(_OUT.value), overwrite=_OVERWRITE.value))
