"""Evaluates encoders by linear probes and nearest neighbours of their features."""

from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.evaluation.probing import Accuracies, by_group, check_labels_per_class, probe
from contrastive_jax.evaluation.untrained import calibrated

__all__ = [
    'Accuracies',
    'by_group',
    'calibrated',
    'check_labels_per_class',
    'extract_features',
    'probe',
]
