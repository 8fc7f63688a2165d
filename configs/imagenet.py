"""ImageNet-1K: 1,281,167 images in 1,000 classes, read from disk while training.

Command: python -m contrastive_jax.main --config=configs/imagenet.py --workdir=runs/imagenet \
  --config.data.data_dir=DIR --config.data.workers=16
DIR is prepared by TFDS from the two archives of image-net.org; or a folder of class folders, with
--config.data.name=folder.
Variants: --config=configs/imagenet.py:small, 64 pixels and a narrow net for one epoch.
Optimiser, batch, epochs and temperature are those of SimCLR's command for 100 epochs; its ResNet-50
reaches some 64.5 %. The paper trains a ResNet-18 (plain NT-Xent 37.62 %): for its table give
--config.model.name=resnet18.
Time and expected result: not run yet.
"""

from contrastive_jax.config.files import MARGIN, SMALL_RESNET, config_of

_SHARED = MARGIN | {
    'data.name': 'imagenet2012',
    'data.stream': True,
    'data.image_size': 224,
    'data.workers': 16,
    'epochs': 100,
    'batch_size': 4096,
    'model.name': 'resnet50',
    'model.stem': 'imagenet',
    'optimizer.learning_rate': 0.3,
    'optimizer.trust_coefficient': 0.001,
    'loss.temperature': 0.1,
    'pairs.pos_high': 0.001,
    'pairs.pos_low': 0.5,
}
_VARIANTS = {
    '': {},
    'small': SMALL_RESNET
    | {
        'data.image_size': 64,
        'epochs': 1,
        'model.name': 'resnet18',
        'optimizer.warmup_epochs': 0.1,
    },
}


def get_config(variant: str = ''):
    """Returns the config of a variant, see above."""
    return config_of(__file__, variant, _VARIANTS, _SHARED)
