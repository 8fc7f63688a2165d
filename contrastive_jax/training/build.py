"""The model that a config names."""

from contrastive_jax.ebt.denoisers import DENOISERS, make_denoiser
from contrastive_jax.models import Context, ContrastiveModel, Moments

__all__ = ['build_model']


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
