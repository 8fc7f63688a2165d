"""Reads a trained run back from its workdir."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx
from ml_collections import ConfigDict

from contrastive_jax.data import sources
from contrastive_jax.data.constructions import Construction, construct
from contrastive_jax.errors import UserError
from contrastive_jax.models.frozen import encoder_function
from contrastive_jax.runs.images import read_or_measure_image_facts
from contrastive_jax.runs.names import CONFIG, ENCODER
from contrastive_jax.runs.training_set import check_images
from contrastive_jax.runs.weights import (
    check_trained,
    checkpoint_weights,
    read_config,
    read_weights,
)

__all__ = ['TrainedRun', 'load_run']


class TrainedRun(NamedTuple):
    """A run that has been trained, wholly or in part.

    Attributes:
      config: the whole config.
      dataset: as its source gives it.
      construction: what it was trained on.
      encode: from uint8 images to features.
      weights: static description of the model without projector, parameters, batch statistics.
      step: steps that `encode` was trained for.
    """

    config: ConfigDict
    dataset: sources.Dataset
    construction: Construction
    encode: Callable
    weights: tuple[nnx.GraphDef, Any, Any]
    step: int


def load_run(workdir: Path) -> TrainedRun:
    """Reads config and encoder, and the data that the config names.

    The encoder is that of `encoder.safetensors` or, where there is none, of the newest checkpoint.

    Raises:
      UserError: a folder without a run or without a checkpoint; its data is gone, or is other data
        than it was trained on.
    """
    config = read_config(workdir)
    check_trained(workdir)
    try:
        dataset = sources.load(config.data)
    except UserError as error:
        if config.data.data_dir and not Path(config.data.data_dir).exists():
            raise UserError(f'{error}; if the data have moved, make a link there') from error
        raise
    construction = construct(config, dataset.pretrain)
    check_images(workdir, construction, held_out=dataset.held_out)
    portable = workdir / ENCODER
    if portable.exists():
        weights = read_weights(portable)
        if weights.config.model != config.model:
            raise UserError(
                f'{portable}: is of another model than {CONFIG}; delete it, and the newest '
                'checkpoint is read'
            )
    else:
        images = read_or_measure_image_facts(workdir, lambda: construction)
        weights = checkpoint_weights(workdir, config, images)
    frozen = weights.graphdef, weights.params, weights.stats
    encode = encoder_function(*frozen)
    return TrainedRun(config, dataset, construction, encode, frozen, weights.step)
