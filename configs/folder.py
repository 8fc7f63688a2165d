"""Your own image files in folders, with classes or without, see docs/data.md.

Command: python -m contrastive_jax.main --config=configs/folder.py --workdir=runs/mine \
  --config.data.data_dir=DIR [--config.data.image_size=96] [--config.data.stream=True]
Variants: --config=configs/folder.py:small, a narrow net for two epochs: try this one first.
Set pairs.pos_high, the most similar share of pairs that counts as the same class, to about one over
the number of classes that you expect.
"""

from contrastive_jax import config as base


def get_config(variant: str = ''):
    """Returns the config of a variant: the full one, or `small`."""
    config = base.default()
    config.data.name = 'folder'
    config.data.image_size = 64
    config.epochs = 200
    config.batch_size = 256
    config.model.name = 'resnet18'
    config.model.stem = 'imagenet'
    config.optimizer.name = 'adamw'
    config.optimizer.learning_rate = 1e-3
    config.loss.temperature = 0.2
    config.arm = 'margin'
    config.pairs.pos_high = 0.1
    config.pairs.pos_low = 0.5
    config.pairs.margin = 0.1
    config.pairs.temperature_scale = 0.7  # For the arms temperature and combined.
    if variant == 'small':
        config.epochs = 2
        config.batch_size = 64
        config.model.width = 16
        config.model.projector_width = 256
        config.optimizer.warmup_epochs = 0.5
    elif variant:
        raise ValueError(f'configs/folder.py:{variant}: variants are small, or none')
    return config
