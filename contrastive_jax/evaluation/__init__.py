"""What an encoder is worth: features, linear probes, nearest neighbours."""

from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.evaluation.probe import Accuracies, probe

__all__ = ['Accuracies', 'extract_features', 'probe']
