"""TinyImageNet: 100,000 images of 64 x 64 pixels in 200 classes, a folder as it is downloaded.

Command: python -m contrastive_jax.main --config=configs/tiny_imagenet.py --workdir=runs/tiny \
  --config.data.data_dir=tiny-imagenet-200
Variants: --config=configs/tiny_imagenet.py:small, a narrow net for two epochs.
Expected: not run yet. The paper's baseline is 69.58 % (ResNet-18, linear probe).
"""

from contrastive_jax import config as base


def get_config(variant: str = ''):
    """Returns the config of a variant: the full one, or `small`."""
    config = base.default()
    config.data.name = 'folder'
    config.epochs = 500
    config.batch_size = 512
    config.model.name = 'resnet18'
    config.model.stem = 'cifar'
    config.loss.temperature = 0.5
    config.arm = 'margin'
    config.pairs.pos_high = 0.005
    config.pairs.pos_low = 0.5
    config.pairs.margin = 0.1
    config.pairs.temperature_scale = 0.7  # For the arms temperature and combined.
    if variant == 'small':
        config.epochs = 2
        config.batch_size = 256
        config.model.width = 16
        config.model.stem = 'imagenet'
        config.model.projector_width = 256
        config.optimizer.name = 'adamw'
        config.optimizer.learning_rate = 2e-3
        config.optimizer.warmup_epochs = 0.5
    elif variant:
        raise ValueError(f'configs/tiny_imagenet.py:{variant}: variants are small, or none')
    return config
