"""STL-10: 105,000 images of 96 x 96 pixels to pre-train on, 5,000 of them with labels for probes.

Command: python -m contrastive_jax.main --config=configs/stl10.py --workdir=runs/stl10 \
  --config.data.data_dir=DIR    (leave it out where TFDS may download)
Variants: --config=configs/stl10.py:small, a narrow net for two epochs.
Expected: not run yet. The paper's baseline is 75.98 % (ResNet-18, linear probe).
"""

from contrastive_jax import config as base


def get_config(variant: str = ''):
    """Returns the config of a variant: the full one, or `small`."""
    config = base.default()
    config.data.name = 'stl10'
    config.epochs = 400
    config.batch_size = 512
    config.model.name = 'resnet18'
    config.model.stem = 'imagenet'
    config.loss.temperature = 0.5
    config.arm = 'margin'
    config.pairs.pos_high = 0.1
    config.pairs.pos_low = 0.5
    config.pairs.margin = 0.1
    config.pairs.temperature_scale = 0.7  # For the arms temperature and combined.
    if variant == 'small':
        config.epochs = 2
        config.batch_size = 256
        config.model.width = 16
        config.model.projector_width = 256
        config.optimizer.name = 'adamw'
        config.optimizer.learning_rate = 2e-3
        config.optimizer.warmup_epochs = 0.5
    elif variant:
        raise ValueError(f'configs/stl10.py:{variant}: variants are small, or none')
    return config
