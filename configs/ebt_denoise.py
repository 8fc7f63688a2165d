"""Denoising by thinking: an Energy-Based Transformer and its baselines, see docs/ebt.md.

Command: python -m contrastive_jax.main --config=configs/ebt_denoise.py --workdir=runs/ebt
  for CIFAR-10: --config=configs/ebt_denoise.py:cifar10 --config.data.data_dir=DIR
Variants: digits (the default), cifar10, small (digits, for tests).
model.name: energy (descends from the noisy image), energy_conditioned (is given it, and descends
from noise), feedforward, diffusion.
"""

from contrastive_jax import config as base


def get_config(variant: str = 'digits'):
    """Returns the config of a variant: digits, cifar10 or small."""
    if variant not in ('digits', 'cifar10', 'small'):
        raise ValueError(f'configs/ebt_denoise.py:{variant}: variants are digits, cifar10, small')
    config = base.default()
    config.batch_size = 128
    config.model.name = 'energy'
    config.optimizer.name = 'adamw'
    config.optimizer.weight_decay = 0.01
    if variant == 'cifar10':
        config.data.name = 'cifar10'
        config.epochs = 10
        config.model.patch = 4
        config.optimizer.learning_rate = 1e-3
        config.optimizer.warmup_epochs = 1.0
        return config
    config.data.name = 'digits'
    config.epochs = 60
    config.model.patch = 2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_epochs = 6.0
    if variant == 'small':
        config.epochs = 2
        config.optimizer.warmup_epochs = 1.0
    return config
