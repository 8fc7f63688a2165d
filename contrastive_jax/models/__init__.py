"""The contrastive model: an encoder and a projector."""

from contrastive_jax.models.context import Context, Moments, compute_dtype, pixel_moments
from contrastive_jax.models.contrastive import ContrastiveModel

__all__ = [
    'Context',
    'ContrastiveModel',
    'Moments',
    'compute_dtype',
    'pixel_moments',
]
