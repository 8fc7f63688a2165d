"""Losses and pair selection: pure functions of arrays."""

from contrastive_jax.objectives.contrast import nt_xent
from contrastive_jax.objectives.pairs import (
    DifficultBand,
    different_class_share,
    difficult_band,
    difficult_pairs,
)

__all__ = [
    'DifficultBand',
    'different_class_share',
    'difficult_band',
    'difficult_pairs',
    'nt_xent',
]
