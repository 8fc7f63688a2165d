"""Encoders and projectors, and the model that pre-training fits."""

from contrastive_jax.models.contrastive import (
    Context,
    ContrastiveModel,
    Moments,
    compute_dtype,
    pixel_moments,
)

__all__ = ['Context', 'ContrastiveModel', 'Moments', 'compute_dtype', 'pixel_moments']
