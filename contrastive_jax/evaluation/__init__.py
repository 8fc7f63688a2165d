"""Evaluates encoders by linear probes and nearest neighbours of their features."""

from typing import TYPE_CHECKING

from contrastive_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from contrastive_jax.evaluation.features import extract_features
    from contrastive_jax.evaluation.probing import (
        Accuracies,
        by_group,
        check_labels_per_class,
        probe,
    )
    from contrastive_jax.evaluation.untrained import calibrated

# Imported on first use, because scores of features need neither Flax nor Optax.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'Accuracies': 'contrastive_jax.evaluation.probing',
        'by_group': 'contrastive_jax.evaluation.probing',
        'calibrated': 'contrastive_jax.evaluation.untrained',
        'check_labels_per_class': 'contrastive_jax.evaluation.probing',
        'extract_features': 'contrastive_jax.evaluation.features',
        'probe': 'contrastive_jax.evaluation.probing',
    },
)

__all__ = [
    'Accuracies',
    'by_group',
    'calibrated',
    'check_labels_per_class',
    'extract_features',
    'probe',
]
