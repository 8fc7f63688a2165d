"""Your own image files in folders, with classes or without, see docs/data.md.

Command: python -m contrastive_jax.main --config=configs/folder.py --workdir=runs/mine \
  --config.data.data_dir=DIR [--config.data.image_size=96] [--config.data.stream=True]
Variants: --config=configs/folder.py:small, a narrow net for two epochs: try this one first.
Time and expected result: those of your images; small says what a step costs.
The stem is that of ImageNet, which makes a ResNet 16 times cheaper than the stem of CIFAR. For
images of 64 pixels and less, where time allows: --config.model.stem=cifar.
Set pairs.pos_high, the most similar share of pairs that counts as the same class, to about one over
the number of classes that you expect.
"""

from contrastive_jax.config.files import MARGIN, SMALL_RESNET, config_of

_SHARED = MARGIN | {
    'data.name': 'folder',
    'data.image_size': 64,
    'epochs': 200,
    'batch_size': 256,
    'model.name': 'resnet18',
    'model.stem': 'imagenet',
    'optimizer.name': 'adamw',
    'optimizer.learning_rate': 1e-3,
    'loss.temperature': 0.2,
    'pairs.pos_high': 0.1,
    'pairs.pos_low': 0.5,
}
_VARIANTS = {
    '': {},
    'small': SMALL_RESNET | {'batch_size': 64, 'optimizer.learning_rate': 1e-3},
}


def get_config(variant: str = ''):
    """Returns the config of a variant, see above."""
    return config_of(__file__, variant, _VARIANTS, _SHARED)
