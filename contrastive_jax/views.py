"""Draws what the augmentation of a config makes of its first images: look before you train.

python -m contrastive_jax.views --config=configs/digits.py --out=views.png
"""

from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from contrastive_jax import cli
from contrastive_jax.config import validate
from contrastive_jax.data import sources
from contrastive_jax.training.augment import two_views

_IMAGES, _VIEWS = 8, 10


def draw(config: ConfigDict, path: Path) -> None:
    """Writes a picture: one image a row, the original first and then its views.

    Args:
      config: the whole config.
      path: of the picture, PNG or any other type that matplotlib knows.
    """
    import matplotlib.pyplot as plt

    validate(config)
    images = sources.load(config.data).train.images[:_IMAGES]
    view = jax.jit(lambda key: two_views(key, images, config.augment)[: len(images)])
    keys = jax.random.split(jax.random.key(config.seed), _VIEWS)
    columns = [images / 255.0, *(np.asarray(view(key)) for key in keys)]
    figure, axes = plt.subplots(
        len(images), len(columns), figsize=(len(columns), len(images)), layout='constrained'
    )
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(pictures):
            axes[row, column].imshow(picture.squeeze(), cmap='gray', vmin=0, vmax=1)
            axes[row, column].set_axis_off()
    axes[0, 0].set_title('image', fontsize=9)
    axes[0, 1].set_title('views', fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == '__main__':
    config_flags.DEFINE_config_file('config', None, 'Config file, with :variant.')
    _OUT = flags.DEFINE_string('out', 'views.png', 'Picture to write.')
    flags.mark_flag_as_required('config')
    cli.run(lambda: draw(cli.config_of_flags()[0], Path(_OUT.value)))
