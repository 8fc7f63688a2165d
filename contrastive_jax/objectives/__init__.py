"""Losses and pair selection: pure functions of arrays."""

from contrastive_jax.objectives.baselines import debiased, decoupled, hard_negative, supervised
from contrastive_jax.objectives.contrast import info_nce, nt_xent, spectral
from contrastive_jax.objectives.pairs import (
    DifficultBand,
    QueueBand,
    different_class_share,
    difficult_band,
    difficult_pairs,
    queue_band,
    queue_different_class_share,
)

__all__ = [
    'DifficultBand',
    'QueueBand',
    'debiased',
    'decoupled',
    'different_class_share',
    'difficult_band',
    'difficult_pairs',
    'hard_negative',
    'info_nce',
    'nt_xent',
    'queue_band',
    'queue_different_class_share',
    'spectral',
    'supervised',
]
