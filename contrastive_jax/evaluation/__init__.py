"""What an encoder is worth: features, linear probes, nearest neighbours."""

from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.evaluation.probe import Accuracies, by_group, probe

__all__ = ['Accuracies', 'by_group', 'extract_features', 'probe']
