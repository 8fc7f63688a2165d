"""TinyImageNet: 100,000 images of 64 x 64 pixels in 200 classes, in the folder of the download.

Command: python -m contrastive_jax.main --config=configs/tiny_imagenet.py --workdir=runs/tiny \
  --config.data.data_dir=tiny-imagenet-200
Variants: --config=configs/tiny_imagenet.py:small, a narrow net for two epochs.
Time: not run yet.
Expected: not run yet. The paper's baseline is 69.58 % (ResNet-18, linear probe).
"""

from contrastive_jax.config.files import MARGIN, SMALL_RESNET, config_of

_SHARED = MARGIN | {
    'data.name': 'folder',
    'epochs': 500,
    'batch_size': 512,
    'model.name': 'resnet18',
    'model.stem': 'cifar',
    'loss.temperature': 0.5,
    'pairs.pos_high': 0.005,
    'pairs.pos_low': 0.5,
    'monitor.every_epochs': 10,
}
_VARIANTS = {'': {}, 'small': SMALL_RESNET | {'monitor.every_epochs': 1}}


def get_config(variant: str = ''):
    """Returns the config of a variant, see above."""
    return config_of(__file__, variant, _VARIANTS, _SHARED)
