"""What an encoder is worth: features, linear probes, nearest neighbours."""

from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.evaluation.probe import Accuracies, by_group, check_labels_per_class, probe

__all__ = ['Accuracies', 'by_group', 'check_labels_per_class', 'extract_features', 'probe']
