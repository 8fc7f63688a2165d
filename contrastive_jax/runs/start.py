"""Where a run begins, if not with random weights: with an encoder, or at the end of another run.

The state that the run begins with becomes its first checkpoint, so that a resumed run needs nothing
else.
"""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from flax import nnx
from ml_collections import ConfigDict

from contrastive_jax.config import differences
from contrastive_jax.data.constructions import Construction
from contrastive_jax.errors import UserError
from contrastive_jax.models import Moments
from contrastive_jax.models.portable import arrays_checksum, filled, named_arrays
from contrastive_jax.randomness import STREAMS
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.encoder import load_weights
from contrastive_jax.runs.logs import check_log, checksum_of_steps, first_lines
from contrastive_jax.runs.names import METRICS, RESULT, START
from contrastive_jax.runs.training_set import check_images
from contrastive_jax.runs.weights import Weights, read_config, skeleton
from contrastive_jax.runs.workdir import has_checkpoint
from contrastive_jax.runtime import distributed
from contrastive_jax.runtime.files import read_json, write_bytes, write_sealed_json
from contrastive_jax.training import devices
from contrastive_jax.training.optimizer import count_steps, make_schedule, with_equal_updates
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.step import TrainState
from contrastive_jax.training.task import task_of

__all__ = ['Start', 'check_apart', 'keep_start', 'kept_start', 'read_start']

# Fields in which a run may differ from the one that it extends.
_OWN = ('init', 'extend', 'epochs', 'steps', 'equal_updates')


class Start(NamedTuple):
    """The beginning of a run.

    Attributes:
      begin: function from the description of the model and the state that the seed draws to the
        state that the run begins with.
      step: number of finished steps in that state.
      line: what to tell the user.
      record: where the state comes from, for `result.json`.
      log: content of `metrics.jsonl` up to that step.
    """

    begin: Callable[[nnx.GraphDef, TrainState], TrainState]
    step: int
    line: str
    record: dict
    log: bytes = b''


def check_apart(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError if a run would write into the folder of the run that it extends."""
    if config.extend:
        here, old = workdir.resolve(), Path(config.extend).resolve()
        if old in (here, *here.parents):
            raise UserError(
                f'--workdir={workdir}: is in config.extend={config.extend!r}, which is never '
                'written; give another folder'
            )


def read_start(
    config: ConfigDict, workdir: Path, construction: Construction, *, held_out: bool = False
) -> Start | None:
    """Reads and checks what `config.init` or `config.extend` names. All processes must call it.

    Args:
      config: the whole config.
      workdir: folder of the run.
      construction: what the run trains on.
      held_out: whether the test images were drawn from the training images.

    Returns:
      None if the run begins with random weights, or has a checkpoint already.

    Raises:
      UserError: there is no such run or file, or it does not fit the config or the images.
    """
    named = config.init or config.extend
    if not named or has_checkpoint(workdir):
        return None
    where = f'config.{"init" if config.init else "extend"}={named!r}'
    read: list[Callable[[], Start]] = []

    def check():
        try:
            if config.init:
                read.append(_from_encoder(config, workdir, construction))
            else:
                read.append(_from_run(config, workdir, construction, held_out))
        except UserError as error:
            raise UserError(f'{where}: {error}') from error

    distributed.by_all(check)
    start = read[0]()
    check_log(workdir, start.step)
    return start


def keep_start(workdir: Path, start: Start) -> None:
    """Writes into the folder of a new run what it begins with, apart from the state."""
    write_sealed_json(workdir / START, start.record)
    write_bytes(workdir / METRICS, start.log)


def kept_start(workdir: Path) -> dict:
    """What `result.json` says of the beginning of a run; empty if it began with random weights."""
    path = workdir / START
    return {'start': read_json(path)} if path.exists() else {}


def _from_encoder(
    config: ConfigDict, workdir: Path, construction: Construction
) -> Callable[[], Start]:
    weights = load_weights(Path(config.init))
    arrays = named_arrays(weights.params) | named_arrays(weights.stats)
    moments = _any_moments(construction)
    _, *own = skeleton(config, moments)
    left_out = [*(skeleton(config, moments, whole=True)[1].keys() - own[0].keys()), 'optimiser']
    try:
        own = [filled(part, arrays) for part in own]
    except ValueError as error:
        raise UserError(f'{error}; give the config that trained it') from error
    if unused := sorted(arrays.keys() - {name for part in own for name in named_arrays(part)}):
        raise UserError(
            f'the model of this config has no {unused[0]}; give the config that trained it'
        )
    record = {
        'init': config.init,
        'left_out': left_out,
        'step': weights.step,
        'arrays_sha256': arrays_checksum(arrays),
        'training_images_checksum': weights.images.checksum,
        'git_commit': weights.written_by['git_commit'] or None,
    }
    line = (
        f'{workdir}: begins with the encoder of {config.init} (step {weights.step}); left out, '
        f'and begun anew: {", ".join(left_out)}'
    )
    begin = partial(_warmed, config=config, weights=weights)
    return lambda: Start(begin, 0, line, record)


def _warmed(
    graphdef: nnx.GraphDef, initial: TrainState, *, config: ConfigDict, weights: Weights
) -> TrainState:
    """The first state of a run with the weights of an encoder."""

    def fill(state, trained):
        return jax.tree.map(jnp.asarray, filled(state, named_arrays(state) | named_arrays(trained)))

    params, stats = fill(initial.params, weights.params), fill(initial.stats, weights.stats)

    # The extra state may copy the model, as a momentum encoder does.
    @jax.jit
    def extra(params, stats, key):
        return task_of(config).init(nnx.merge(graphdef, params, stats, copy=True), key)

    return initial._replace(params=params, stats=stats, extra=extra(params, stats, initial.key))


def _from_run(
    config: ConfigDict, workdir: Path, construction: Construction, held_out: bool
) -> Callable[[], Start]:
    old = Path(config.extend)
    before = read_config(old)
    if not (old / RESULT).is_file():
        raise UserError(f'has not finished (no {RESULT}); run it to its end first')
    if changed := differences(before.to_dict(), config.to_dict(), besides=_OWN):
        raise UserError(f'was trained by another config ({"; ".join(changed)}); give the same')
    _check_images(old, construction, held_out)
    if not has_checkpoint(old):
        raise UserError('holds no checkpoint')
    name = 'steps' if config.steps else 'epochs'
    config, before = (with_equal_updates(c, construction.available) for c in (config, before))
    steps_per_epoch = len(construction.kept) // config.batch_size
    total, done = count_steps(config, steps_per_epoch), count_steps(before, steps_per_epoch)
    if total <= done:
        raise UserError(
            f'has taken {done} steps, and config.{name}={config[name]} is {total}; give more'
        )
    first, last = make_schedule(config, steps_per_epoch), make_schedule(before, steps_per_epoch)
    record = {'extend': config.extend, 'step': done}

    def restored() -> Start:
        state = _last_state(config, old, construction)
        if int(state.step) != done:
            raise UserError(
                f'config.extend={config.extend!r}: its checkpoint of step {done} is missing or '
                'damaged; restore it from a copy'
            )
        # The schedules count updates, and some steps may have made none.
        updates = done - int(state.skipped)
        line = (
            f'{workdir}: goes on where {old} ended, after step {done}, to step {total}; the '
            f'learning rate was {float(last(max(updates - 1, 0))):.3g} in its last step, is '
            f'{float(first(updates)):.3g} in the next one, and goes on as in a run of {total} '
            'steps, to 0'
        )
        return Start(lambda graphdef, initial: state, done, line, record, first_lines(old, done))

    return restored


def _check_images(old: Path, construction: Construction, held_out: bool) -> None:
    """Raises UserError unless a run has trained on these images."""
    if check_images(old, construction, held_out=held_out) != STREAMS:
        logging.warning(
            '%s: was trained by a version that draws batches or views otherwise; the steps from '
            'here on are those of this version',
            old,
        )


def _last_state(config: ConfigDict, old: Path, construction: Construction) -> TrainState:
    # How many steps an epoch has decides learning rates alone, and moments are no part of a state.
    initial = set_up(config, _any_moments(construction), 1).initial
    with closing(Checkpoints(old, read_only=True)) as checkpoints:
        return checkpoints.restore(devices.replicate(initial), partial(checksum_of_steps, old))


def _any_moments(construction: Construction) -> Moments:
    """Moments of the right number of channels, for models of which only the shapes matter."""
    channels = construction.whole.images.shape[-1]
    return Moments((0.0,) * channels, (1.0,) * channels)
