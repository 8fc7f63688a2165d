"""Digits: 1,797 grey images of 8 x 8 pixels that come with this package; for laptops and tests.

Command: python -m contrastive_jax.main --config=configs/digits.py --workdir=runs/digits
Variants: --config=configs/digits.py:small, two epochs, for tests.
Time: 64 to 68 s on two shared CPU cores.
Expected: 99.11 % with the linear probe, 95.54 % with few labels, 97.48 % with kNN (three seeds
  of the first edition, docs/results/digits/README.md).
"""

from contrastive_jax.config.files import MARGIN, config_of

_SHARED = MARGIN | {
    'data.name': 'digits',
    'epochs': 100,
    'batch_size': 256,
    'model.name': 'conv',
    'model.width': 32,
    'model.projector_width': 256,
    'model.projector_dim': 64,
    # A mirrored digit is another digit, and 8 pixels leave nothing to blur.
    'augment.flip': 0.0,
    'augment.blur': 0.0,
    'augment.crop_scale': 0.4,
    'augment.brightness': 0.4,
    'augment.contrast': 0.4,
    'optimizer.name': 'adamw',
    'optimizer.learning_rate': 2e-3,
    'loss.temperature': 0.2,
    'pairs.pos_high': 0.1,
    'pairs.pos_low': 0.3,
    'monitor.every_epochs': 10,
    'monitor.images': 300,
}
# In two epochs even one look would cost more than 2 % of the run.
_SMALL = {'epochs': 2, 'optimizer.warmup_epochs': 1.0, 'monitor.every_epochs': 0}
_VARIANTS = {'': {}, 'small': _SMALL}


def get_config(variant: str = ''):
    """Returns the config of a variant, see above."""
    return config_of(__file__, variant, _VARIANTS, _SHARED)
