"""Reads a trained run back from its workdir."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from contrastive_jax.config import restored, validate
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import Construction, construct
from contrastive_jax.data.stored import in_memory
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.features import encoder_function, token_function
from contrastive_jax.runtime.files import read_json
from contrastive_jax.ebt.denoisers import DENOISERS
from contrastive_jax.models import pixel_moments
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.training.setup import set_up
from contrastive_jax.runs.workdir import CONFIG, check_images

__all__ = ['TrainedRun', 'load_run']


class TrainedRun(NamedTuple):
    """A run that has been trained, wholly or in part.

    Attributes:
      config: the whole config.
      dataset: as its source gives it.
      construction: what it was trained on.
      encode: from uint8 images to features.
      tokens: what `token_function` returns; None of a denoiser, which has none.
      step: of the checkpoint that `encode` was read from.
    """

    config: ConfigDict
    dataset: sources.Dataset
    construction: Construction
    encode: Callable
    tokens: Callable | None
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
    check_images(workdir, construction, held_out=dataset.held_out)
    images = construction.split.images
    setup = set_up(config, pixel_moments(in_memory(images)), len(images) // config.batch_size)
    checkpoints = Checkpoints(workdir, read_only=True)
    state = checkpoints.restore(jax.device_put(setup.initial, jax.devices()[0]))
    checkpoints.close()
    if int(state.step) == 0:
        raise UserError(f'--workdir={workdir}: holds no checkpoint; train it first')
    encode = encoder_function(setup.graphdef, state.params, state.stats)
    tokens = None
    if config.model.name not in DENOISERS:
        tokens = token_function(setup.graphdef, state.params, state.stats)
    return TrainedRun(config, dataset, construction, encode, tokens, int(state.step))
