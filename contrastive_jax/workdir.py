"""The folder of a run: whose it is, what is in it, and that it stays one run's."""

import json
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from contrastive_jax.config import differences
from contrastive_jax.data.constructions import Construction
from contrastive_jax.errors import UserError
from contrastive_jax.training.logs import write_json

__all__ = ['CONFIG', 'RESULT', 'check_workdir', 'claim_workdir']

CONFIG, RESULT = 'config.json', 'result.json'
_TRAINING_SET = 'training_set.npz'
# What a run writes: none of these may be there before its config is.
_OWN = (RESULT, 'metrics.jsonl', 'checkpoints', _TRAINING_SET)


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError unless the folder is this run's, or free to become it."""
    path = workdir / CONFIG
    if not path.exists():
        found = [name for name in _OWN if (workdir / name).exists()]
        if found or (workdir.exists() and not workdir.is_dir()):
            raise UserError(
                f'--workdir={workdir}: holds {", ".join(found) or "a file"} but no {CONFIG}, '
                'so it is not known whose it is; choose another folder'
            )
        return
    try:
        changed = differences(json.loads(path.read_text()), config.to_dict())
    except json.JSONDecodeError as error:
        raise UserError(f'{path}: damaged ({error}); choose another --workdir') from error
    if changed:
        raise UserError(
            f'--workdir={workdir}: holds a run of another config ({"; ".join(changed)}); '
            'choose another folder, or the same config to resume'
        )


def claim_workdir(workdir: Path, config: ConfigDict, construction: Construction) -> None:
    """Writes what the run is, or checks that a run to be resumed still is the same.

    `training_set.npz` holds the indices kept, those mixed and their partners.

    Raises:
      UserError: a folder that cannot be written; other images are left out or mixed than before.
    """
    path = workdir / _TRAINING_SET
    chosen = {name: getattr(construction, name) for name in ('kept', 'mixed', 'partners')}
    if (workdir / CONFIG).exists() and path.exists():
        with np.load(path) as before:
            changed = [name for name in chosen if not np.array_equal(before[name], chosen[name])]
        if changed:
            raise UserError(
                f'--workdir={workdir}: was begun with other images ({", ".join(changed)} differ); '
                'has config.removal.scores been written anew? Choose another folder'
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / CONFIG, config.to_dict())
        np.savez(path, **chosen)
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error
