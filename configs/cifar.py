"""CIFAR-10 and CIFAR-100: 50,000 colour images of 32 x 32 pixels for training, 10,000 for tests.

Command: python -m contrastive_jax.main --config=configs/cifar.py --workdir=runs/cifar10 \
  --config.data.data_dir=DIR    (leave it out where TFDS may download)
Variants: cifar10 (the default), cifar100, small (CIFAR-10 on a CPU in minutes), cifar100_small;
  solo_learn and simclr, plain SimCLR on CIFAR-10 by the recipes of those projects, see
  docs/optimizers.md.
"""

from contrastive_jax import config as base


def get_config(variant: str = 'cifar10'):
    """Returns the config of a variant, see above."""
    variants = {
        'cifar10': ('cifar10', False),
        'cifar100': ('cifar100', False),
        'small': ('cifar10', True),
        'cifar100_small': ('cifar100', True),
        'solo_learn': ('cifar10', False),
        'simclr': ('cifar10', False),
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
    if variant == 'solo_learn':
        _solo_learn(config)
    if variant == 'simclr':
        _simclr(config)
    return config


def _solo_learn(config):
    """scripts/pretrain/cifar/simclr.yaml of vturrisi/solo-learn; what it shares is left out."""
    config.pairs.update(select='none', margin=0.0)
    config.batch_size = 256
    config.loss.temperature = 0.2
    config.model.projector_dim = 256
    config.optimizer.name = 'lars_clipped'


def _simclr(config):
    """The CIFAR-10 command of google-research/simclr; what it shares is left out."""
    config.pairs.update(select='none', margin=0.0)
    config.augment.update(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.0)
    config.model.projector_width = 512
    config.optimizer.learning_rate = 1.0
    config.optimizer.trust_coefficient = 0.001
