"""CIFAR-10 and CIFAR-100: 50,000 colour images of 32 x 32 pixels for training, 10,000 for tests.

Command: python -m contrastive_jax.main --config=configs/cifar.py --workdir=runs/cifar10 \
  --config.data.data_dir=DIR    (leave it out where TFDS may download)
Variants: cifar10 (the default), cifar100, small (CIFAR-10 on a CPU in minutes), cifar100_small.
"""

from contrastive_jax import config as base


def get_config(variant: str = 'cifar10'):
    """Returns the config of a variant: cifar10, cifar100, small or cifar100_small."""
    variants = {
        'cifar10': ('cifar10', False),
        'cifar100': ('cifar100', False),
        'small': ('cifar10', True),
        'cifar100_small': ('cifar100', True),
    }
    if variant not in variants:
        raise ValueError(f'configs/cifar.py:{variant}: variants are {", ".join(variants)}')
    name, small = variants[variant]
    config = base.default()
    config.data.name = name
    config.epochs = 1000
    config.batch_size = 512
    config.model.name = 'resnet18'
    config.optimizer.name = 'lars'
    config.optimizer.learning_rate = 0.4
    config.loss.temperature = 0.5
    config.arm = 'margin'
    # One over the number of classes, as the paper's guide has it.
    config.pairs.pos_high = 0.1 if name == 'cifar10' else 0.01
    config.pairs.pos_low = 0.5
    # The paper's strengths are in an appendix that we do not have; these are inside the grids that
    # we search. The factor of the temperature is for the arms temperature and combined.
    config.pairs.margin = 0.1
    config.pairs.temperature_scale = 0.7
    if small:
        config.epochs = 8
        config.loss.temperature = 0.2
        config.batch_size = 256
        config.model.width = 16
        config.model.stem = 'imagenet'
        config.model.projector_width = 256
        config.optimizer.name = 'adamw'
        config.optimizer.learning_rate = 2e-3
        config.optimizer.warmup_epochs = 0.5
    return config
