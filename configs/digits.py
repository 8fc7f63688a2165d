"""Digits: 1,797 grey images of 8 x 8 pixels that come with scikit-learn; for laptops and tests.

Command: python -m contrastive_jax.main --config=configs/digits.py --workdir=runs/digits
Variants: --config=configs/digits.py:small, two epochs, for tests.
"""

from contrastive_jax import config as base


def get_config(variant: str = ''):
    """Returns the config of a variant: the full one, or `small`."""
    config = base.default()
    config.data.name = 'digits'
    config.epochs = 100
    config.batch_size = 256
    config.model.name = 'conv'
    config.model.width = 32
    config.model.projector_width = 256
    config.model.projector_dim = 64
    # A mirrored digit is another digit, and 8 pixels leave nothing to blur.
    config.augment.flip = 0.0
    config.augment.blur = 0.0
    config.augment.crop_scale = 0.4
    config.augment.brightness = 0.4
    config.augment.contrast = 0.4
    config.optimizer.name = 'adamw'
    config.optimizer.learning_rate = 2e-3
    config.loss.temperature = 0.2
    config.arm = 'margin'
    config.pairs.pos_high = 0.1
    config.pairs.pos_low = 0.3
    config.pairs.margin = 0.1
    config.pairs.temperature_scale = 0.7  # For the arms temperature and combined.
    if variant == 'small':
        config.epochs = 2
        config.optimizer.warmup_epochs = 1.0
    elif variant:
        raise ValueError(f'configs/digits.py:{variant}: variants are small, or none')
    return config
