"""Losses and pair selection: pure functions of arrays."""

from contrastive_jax.objectives.baselines import debiased, decoupled, hard_negative, supervised
from contrastive_jax.objectives.contrast import nt_xent, spectral
from contrastive_jax.objectives.pairs import (
    DifficultBand,
    different_class_share,
    difficult_band,
    difficult_pairs,
)
from contrastive_jax.objectives.queue import (
    QueueBand,
    info_nce,
    queue_band,
    queue_different_class_share,
)
from contrastive_jax.objectives.thinking import Thought, think, thinking_loss
from contrastive_jax.objectives.verification import (
    compatibility_loss,
    pair_nce,
    thinking_start,
    verification_loss,
)

__all__ = [
    'DifficultBand',
    'QueueBand',
    'Thought',
    'compatibility_loss',
    'debiased',
    'decoupled',
    'different_class_share',
    'difficult_band',
    'difficult_pairs',
    'hard_negative',
    'info_nce',
    'nt_xent',
    'pair_nce',
    'queue_band',
    'queue_different_class_share',
    'spectral',
    'supervised',
    'think',
    'thinking_loss',
    'thinking_start',
    'verification_loss',
]
