"""The file `training_set.npz` of a workdir: which images the run trains on."""

from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from contrastive_jax.data.constructions import Construction
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import STREAMS
from contrastive_jax.runs.workdir import CONFIG, TRAINING_SET
from contrastive_jax.runtime.files import read_arrays, write_sealed_json, write_whole

__all__ = ['check_images', 'claim_workdir']

_CHOSEN = ('kept', 'mixed', 'partners')


def claim_workdir(workdir: Path, config: ConfigDict, construction: Construction) -> None:
    """Writes the config and the training set of a new run, or checks those of a resumed run.

    `training_set.npz` holds the indices kept, those mixed and their partners, and the edition of
    the random streams (`randomness.STREAMS`).

    Raises:
      UserError: the folder cannot be written; other images are left out or mixed than before.
    """
    path = workdir / TRAINING_SET
    if (workdir / CONFIG).exists() and path.exists():
        if check_images(workdir, construction) != STREAMS:
            logging.warning(
                '%s: was begun by a version that draws batches in another order; the steps from '
                'here on are in the order of this version, so that neither version alone would '
                'end with the same encoder',
                workdir,
            )
        return
    chosen = {name: getattr(construction, name) for name in _CHOSEN}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_sealed_json(workdir / CONFIG, config.to_dict())
        write_whole(path, lambda file: np.savez(file, streams=STREAMS, **chosen))
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error


def check_images(workdir: Path, construction: Construction) -> int:
    """Checks that a run still has the training images that it was started with.

    Returns:
      The edition of the random streams of the run; 1 if its file has no such number.

    Raises:
      UserError: other images are left out or mixed than before.
    """
    try:
        before = read_arrays(workdir / TRAINING_SET)
    except UserError as error:
        raise UserError(f'{error}; delete it, and it is made again') from error
    before = before if isinstance(before, dict) else {}
    streams = int(before.get('streams', 1))
    changed = [
        name
        for name in _CHOSEN
        if not np.array_equal(np.asarray(before.get(name)), getattr(construction, name))
    ]
    if not changed:
        return streams
    differ = f'was begun with other images ({", ".join(changed)} differ)'
    if streams != STREAMS and before.keys() >= set(_CHOSEN):
        raise UserError(
            f'--workdir={workdir}: {differ}: the version that began it draws them otherwise; go on '
            'with that version, or choose another folder'
        )
    raise UserError(
        f'--workdir={workdir}: {differ}; has config.removal.scores been written anew? Choose '
        'another folder'
    )
