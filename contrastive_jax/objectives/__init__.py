"""Losses and pair selection: pure functions of arrays."""

from contrastive_jax.objectives.baselines import debiased, decoupled, hard_negative, supervised
from contrastive_jax.objectives.contrast import nt_xent, spectral
from contrastive_jax.objectives.pairs import (
    DifficultBand,
    different_class_share,
    difficult_band,
    difficult_pairs,
)

__all__ = [
    'DifficultBand',
    'debiased',
    'decoupled',
    'different_class_share',
    'difficult_band',
    'difficult_pairs',
    'hard_negative',
    'nt_xent',
    'spectral',
    'supervised',
]
