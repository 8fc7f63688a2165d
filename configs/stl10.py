"""STL-10: 105,000 images of 96 x 96 pixels to pre-train on, 5,000 of them with labels for probes.

Command: python -m contrastive_jax.main --config=configs/stl10.py --workdir=runs/stl10 \
  --config.data.data_dir=DIR    (without it TFDS downloads, which needs TensorFlow)
Variants: --config=configs/stl10.py:small, a narrow net for two epochs.
Time: not run yet.
Expected: not run yet. The paper's baseline is 75.98 % (ResNet-18, linear probe).
"""

from contrastive_jax.config.files import MARGIN, SMALL_RESNET, config_of

_SHARED = MARGIN | {
    'data.name': 'stl10',
    'epochs': 400,
    'batch_size': 512,
    'model.name': 'resnet18',
    'model.stem': 'imagenet',
    'loss.temperature': 0.5,
    'pairs.pos_high': 0.1,
    'pairs.pos_low': 0.5,
    'monitor.every_epochs': 10,
}
_VARIANTS = {'': {}, 'small': SMALL_RESNET | {'monitor.every_epochs': 1}}


def get_config(variant: str = ''):
    """Returns the config of a variant, see above."""
    return config_of(__file__, variant, _VARIANTS, _SHARED)
