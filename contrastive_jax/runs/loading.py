"""Reads a trained run back from its workdir."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx
from ml_collections import ConfigDict

from contrastive_jax.config import restored, validate
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import Construction, construct
from contrastive_jax.data.stored import in_memory
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.features import encoder_function
from contrastive_jax.models import pixel_moments
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.training_set import check_images
from contrastive_jax.runs.workdir import CONFIG, TRAINING_SET
from contrastive_jax.runtime.files import read_json
from contrastive_jax.training.setup import set_up

__all__ = ['TrainedRun', 'load_run']


class TrainedRun(NamedTuple):
    """A run that has been trained, wholly or in part.

    Attributes:
      config: the whole config.
      dataset: as its source gives it.
      construction: what it was trained on.
      encode: from uint8 images to features.
      weights: static description of the model, its parameters and its batch statistics.
      step: of the checkpoint that `encode` was read from.
    """

    config: ConfigDict
    dataset: sources.Dataset
    construction: Construction
    encode: Callable
    weights: tuple[nnx.GraphDef, Any, Any]
    step: int


def load_run(workdir: Path) -> TrainedRun:
    """Reads config and newest checkpoint, and the data that the config names.

    Raises:
      UserError: a folder without a run or without a checkpoint; its data is gone, or is other data
        than it was trained on.
    """
    path = workdir / CONFIG
    if not path.is_file():
        raise UserError(f'--workdir={workdir}: holds no {CONFIG}; give the folder of a run')
    stored = read_json(path)
    try:
        config = restored(stored)
        validate(config)
    except UserError as error:
        raise UserError(
            f'{path}: {error}; it was written by another version, or changed by hand'
        ) from error
    if not (workdir / 'checkpoints').is_dir():
        raise UserError(f'--workdir={workdir}: holds no checkpoint; train it first')
    dataset = sources.load(config.data)
    construction = construct(config, dataset.pretrain)
    if (workdir / TRAINING_SET).is_file():
        check_images(workdir, construction)
    images = construction.split.images
    setup = set_up(config, pixel_moments(in_memory(images)), len(images) // config.batch_size)
    checkpoints = Checkpoints(workdir, read_only=True)
    state = checkpoints.restore(jax.device_put(setup.initial, jax.devices()[0]))
    checkpoints.close()
    if int(state.step) == 0:
        raise UserError(f'--workdir={workdir}: holds no checkpoint; train it first')
    weights = setup.graphdef, state.params, state.stats
    encode = encoder_function(*weights)
    return TrainedRun(config, dataset, construction, encode, weights, int(state.step))
