"""Reads a trained run back from its workdir."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from contrastive_jax.data import sources
from contrastive_jax.data.constructions import Construction, construct
from contrastive_jax.ebt.denoisers import DENOISERS
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.features import encoder_function, token_function
from contrastive_jax.runs.images import image_facts
from contrastive_jax.runs.weights import (
    ENCODER,
    checkpoint_weights,
    read_config,
    read_weights,
)
from contrastive_jax.runs.workdir import CONFIG, TRAINING_SET, check_images

__all__ = ['TrainedRun', 'load_run']


class TrainedRun(NamedTuple):
    """A run that has been trained, wholly or in part.

    Attributes:
      config: the whole config.
      dataset: as its source gives it.
      construction: what it was trained on.
      encode: from uint8 images to features.
      tokens: what `token_function` returns; None of a denoiser, which has none.
      step: steps that `encode` was trained for.
    """

    config: ConfigDict
    dataset: sources.Dataset
    construction: Construction
    encode: Callable
    tokens: Callable | None
    step: int


def load_run(workdir: Path) -> TrainedRun:
    """Reads config and encoder, and the data that the config names.

    The encoder is that of `encoder.safetensors` or, where there is none, of the newest checkpoint.

    Raises:
      UserError: a folder without a run or without a checkpoint; its data is gone, or is other data
        than it was trained on.
    """
    config = read_config(workdir)
    portable = workdir / ENCODER
    if not portable.exists() and not (workdir / 'checkpoints').is_dir():
        raise UserError(f'--workdir={workdir}: holds no checkpoint; train it first')
    dataset = sources.load(config.data)
    construction = construct(config, dataset.pretrain)
    if (workdir / TRAINING_SET).is_file():
        check_images(workdir, construction)
    if portable.exists():
        weights = read_weights(portable)
        if weights.config.model != config.model:
            raise UserError(
                f'{portable}: is of another model than {CONFIG}; delete it, and the newest '
                'checkpoint is read'
            )
    else:
        weights = checkpoint_weights(workdir, config, image_facts(construction))
    graphdef, params, stats = weights.graphdef, weights.params, weights.stats
    encode = encoder_function(graphdef, params, stats)
    tokens = None
    if config.model.name not in DENOISERS:
        tokens = token_function(graphdef, params, stats)
    return TrainedRun(config, dataset, construction, encode, tokens, weights.step)
