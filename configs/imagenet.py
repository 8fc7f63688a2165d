"""ImageNet-1K: 1,281,167 images in 1,000 classes, read from disk while training.

Command: python -m contrastive_jax.main --config=configs/imagenet.py --workdir=runs/imagenet \
  --config.data.data_dir=DIR --config.data.workers=16
DIR is prepared by TFDS from the two archives of image-net.org; or a folder of class folders, with
--config.data.name=folder.
Variants: --config=configs/imagenet.py:small, 64 pixels and a narrow net for one epoch.
Expected: not run yet.
"""

from contrastive_jax import config as base


def get_config(variant: str = ''):
    """Returns the config of a variant: the full one, or `small`."""
    config = base.default()
    config.data.name = 'imagenet2012'
    config.data.stream = True
    config.data.image_size = 224
    config.data.workers = 16
    config.epochs = 100
    config.batch_size = 4096
    config.model.name = 'resnet50'
    config.model.stem = 'imagenet'
    config.loss.temperature = 0.1
    config.arm = 'margin'
    config.pairs.pos_high = 0.001
    config.pairs.pos_low = 0.5
    config.pairs.margin = 0.1
    config.pairs.temperature_scale = 0.7  # For the arms temperature and combined.
    if variant == 'small':
        config.data.image_size = 64
        config.epochs = 1
        config.batch_size = 256
        config.model.name = 'resnet18'
        config.model.width = 16
        config.model.projector_width = 256
        config.optimizer.name = 'adamw'
        config.optimizer.learning_rate = 2e-3
        config.optimizer.warmup_epochs = 0.1
    elif variant:
        raise ValueError(f'configs/imagenet.py:{variant}: variants are small, or none')
    return config
