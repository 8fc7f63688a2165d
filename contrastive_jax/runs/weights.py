"""The weights of a run without its optimiser: from its portable file or from a checkpoint."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from contrastive_jax.config import check_values, paths, restored
from contrastive_jax.errors import UserError
from contrastive_jax.models import Context, Moments, compute_dtype
from contrastive_jax.models.portable import filled, named_arrays, read_portable, write_portable
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.images import ImageFacts, parse_image_facts, read_image_facts
from contrastive_jax.runs.names import CONFIG, ENCODER
from contrastive_jax.runs.provenance import git_commit, versions
from contrastive_jax.runs.workdir import has_checkpoint
from contrastive_jax.runtime.files import read_json
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.task import task_of

__all__ = [
    'Weights',
    'check_trained',
    'checkpoint_weights',
    'read_config',
    'read_weights',
    'save_encoder',
    'skeleton',
]

# Only the loss uses it, so a portable file is without it.
_LEFT_OUT = 'projector'
_WRITTEN_BY = ('versions', 'git_commit')


class Weights(NamedTuple):
    """All that an encoder is.

    Attributes:
      config: the whole config of its run.
      images: what is known of the images that it was trained on.
      graphdef: static description of the model, without its projector.
      params: parameters.
      stats: batch statistics.
      step: training steps taken.
      written_by: versions and commit that wrote the file, as strings.
    """

    config: ConfigDict
    images: ImageFacts
    graphdef: nnx.GraphDef
    params: Any
    stats: Any
    step: int
    written_by: Mapping[str, str]

    @property
    def num_features(self) -> int:
        """Numbers that the encoder makes of an image."""
        image = jax.ShapeDtypeStruct((1, *self.images.shape), jnp.float32)

        def encode(params, stats, image):
            return nnx.merge(self.graphdef, params, stats, copy=True).encode(image, train=False)

        return jax.eval_shape(encode, self.params, self.stats, image).shape[1]

    def facts(self) -> dict[str, str]:
        """All but the arrays, as the metadata of a file."""
        # Paths are nobody else's business, and what reads the file does not need them.
        shared = self.config.copy_and_resolve_references()
        with shared.ignore_type():
            shared.update_from_flattened_dict(dict.fromkeys(paths()))
        sections = shared.to_dict()
        facts = {
            'model': sections.pop('model'),
            'config': sections,
            'image_shape': self.images.shape,
            'moments': self.images.moments._asdict(),
            'num_features': self.num_features,
            'step': self.step,
        }
        texts = {name: json.dumps(fact) for name, fact in facts.items()}
        return {**texts, 'training_images_checksum': self.images.checksum, **self.written_by}


def save_encoder(workdir: Path, config: ConfigDict, params: Any, stats: Any, step: int) -> None:
    """Writes `encoder.safetensors` into the folder of a run that has finished training.

    Args:
      workdir: of the run; `write_image_facts` has written to it.
      config: the whole config.
      params: parameters of the model.
      stats: batch statistics of the model.
      step: training steps taken.
    """
    images = read_image_facts(workdir)
    assert images is not None
    weights = _weights(config, images, params, stats, step)
    arrays = named_arrays(weights.params) | named_arrays(weights.stats)
    write_portable(workdir / ENCODER, arrays, weights.facts())


def read_weights(path: Path) -> Weights:
    """Reads `encoder.safetensors`.

    Raises:
      UserError: no such file, or one that is damaged, something else's, or of a newer version.
    """
    arrays, facts = read_portable(path)
    try:
        config = restored({**json.loads(facts['config']), 'model': json.loads(facts['model'])})
        check_values(config)
        images = parse_image_facts(
            {
                'shape': json.loads(facts['image_shape']),
                **json.loads(facts['moments']),
                'checksum': facts['training_images_checksum'],
            }
        )
        graphdef, params, stats = skeleton(config, images.moments)
        params, stats = filled(params, arrays), filled(stats, arrays)
        written_by = {name: facts[name] for name in _WRITTEN_BY}
        return Weights(config, images, graphdef, params, stats, int(facts['step']), written_by)
    except (KeyError, TypeError, ValueError) as error:
        reason = f'{error.args[0]} is missing' if isinstance(error, KeyError) else error
        raise UserError(f'{path}: cannot be used ({reason}); write it again') from error


def checkpoint_weights(workdir: Path, config: ConfigDict, images: ImageFacts) -> Weights:
    """Reads the newest checkpoint of a run that is intact.

    The optimiser's state is read as well, since the checksum of a checkpoint covers it.

    Args:
      workdir: of the run.
      config: the whole config.
      images: that the run trains on.

    Returns:
      Config, description, parameters and batch statistics of the encoder, without its projector.

    Raises:
      UserError: no checkpoint, or none that is intact.
    """
    # How many steps an epoch has decides learning rates alone.
    initial = set_up(config, images.moments, 1).initial
    with closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        state = checkpoints.restore(jax.device_put(initial, jax.devices()[0]))
    if int(state.step) == 0:
        raise _untrained(workdir)
    return _weights(config, images, state.params, state.stats, int(state.step))


def check_trained(workdir: Path) -> None:
    """Raises UserError unless a run holds an encoder, as a file or in a checkpoint."""
    if not (workdir / ENCODER).exists() and not has_checkpoint(workdir):
        raise _untrained(workdir)


def _untrained(workdir: Path) -> UserError:
    return UserError(f'--workdir={workdir}: holds no checkpoint; train it first')


def read_config(workdir: Path) -> ConfigDict:
    """The config of a run.

    Raises:
      UserError: a folder without a run, or a config of another version.
    """
    path = workdir / CONFIG
    if not path.is_file():
        gone = '' if workdir.exists() else ', since there is no such folder: train first'
        raise UserError(
            f'--workdir={workdir}: holds no {CONFIG}{gone or "; give the folder of a run"}'
        )
    stored = read_json(path)
    try:
        config = restored(stored)
        check_values(config)
    except UserError as error:
        raise UserError(
            f'{path}: {error}; it was written by another version, or by a task that '
            'contrastive_jax/tasks/__init__.py does not register, or changed by hand'
        ) from error
    return config


def skeleton(
    config: ConfigDict, moments: Moments, *, whole: bool = False
) -> tuple[nnx.GraphDef, Any, Any]:
    """The model of a config, as shapes without numbers.

    Args:
      config: the whole config.
      moments: pixel moments of the training images.
      whole: whether to include the projector, which only the loss uses.

    Returns:
      Static description, parameters and batch statistics.
    """
    task = task_of(config)

    def build():
        ctx = Context(nnx.Rngs(0), compute_dtype(config.precision))
        model = task.build(moments, ctx)
        if not whole and hasattr(model, _LEFT_OUT):
            delattr(model, _LEFT_OUT)
        return model

    graphdef, *parts = nnx.split(nnx.eval_shape(build), nnx.Param, nnx.BatchStat)
    params, stats = parts
    return graphdef, params, stats


def _weights(config: ConfigDict, images: ImageFacts, params: Any, stats: Any, step: int) -> Weights:
    """Leaves the projector out of the state of a model."""
    graphdef, *own = skeleton(config, images.moments)
    arrays = named_arrays(params) | named_arrays(stats)
    params, stats = (filled(part, arrays) for part in own)
    written_by = dict(zip(_WRITTEN_BY, (json.dumps(versions()), git_commit() or ''), strict=True))
    return Weights(config, images, graphdef, params, stats, step, written_by)
