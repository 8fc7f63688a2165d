"""Encoders and projectors, denoisers, and the model that a config names."""

from contrastive_jax.models.context import Context, Moments, compute_dtype, pixel_moments
from contrastive_jax.models.contrastive import ContrastiveModel
from contrastive_jax.models.denoisers import DENOISERS, make_denoiser
from contrastive_jax.models.transformer import SIZES, EnergyTransformer

__all__ = [
    'DENOISERS',
    'SIZES',
    'Context',
    'ContrastiveModel',
    'EnergyTransformer',
    'Moments',
    'build_model',
    'compute_dtype',
    'pixel_moments',
]


def build_model(config, moments: Moments, ctx: Context):
    """The model that `config.model.name` names.

    Args:
      config: the whole config.
      moments: of the training images; also tells the number of channels.
      ctx: what all layers share.
    """
    if config.model.name in DENOISERS:
        return make_denoiser(config, len(moments.mean), ctx=ctx)
    return ContrastiveModel(config.model, moments, ctx)
