"""The folder of a run: whose it is, what is in it, and that it stays one run's."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from contrastive_jax.config import completed, differences
from contrastive_jax.data.constructions import Construction
from contrastive_jax.errors import UserError
from contrastive_jax.files import read_arrays, read_json, write_sealed_json, write_whole

__all__ = ['CONFIG', 'RESULT', 'check_workdir', 'claim_workdir', 'locked']

CONFIG, RESULT = 'config.json', 'result.json'
_TRAINING_SET = 'training_set.npz'
# What a run writes: none of these may be there before its config is.
_OWN = (RESULT, 'metrics.jsonl', 'checkpoints', _TRAINING_SET)


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError unless the folder is this run's, or free to become it."""
    if not (workdir / CONFIG).exists():
        found = [name for name in _OWN if (workdir / name).exists()]
        if found or (workdir.exists() and not workdir.is_dir()):
            raise UserError(
                f'--workdir={workdir}: holds {", ".join(found) or "a file"} but no {CONFIG}, '
                'so it is not known whose it is; choose another folder'
            )
        return
    try:
        changed = differences(completed(read_json(workdir / CONFIG)), config.to_dict())
    except UserError as error:
        raise UserError(f'{error}; restore it from a copy, or choose another --workdir') from error
    if changed:
        raise UserError(
            f'--workdir={workdir}: holds a run of another config ({"; ".join(changed)}); '
            'choose another folder, or the same config to resume'
        )


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other processes from training in the folder; makes it where there is none.

    The lock ends with the process, however that ends. `lock` says who has it.

    Raises:
      UserError: another process has it, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # Not through a link, for what is there is written over.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(workdir / 'lock', flags, 0o666), 'r+')
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error
    with file:
        try:
            # Of the process alone: what it starts and leaves behind does not hold it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                logging.warning('%s: cannot be locked (%s); start one run only', workdir, error)
            else:
                file.seek(0)
                holder = file.read().strip() or 'another process'
                raise UserError(
                    f'--workdir={workdir}: {holder} is training here; wait for it, or choose '
                    'another folder'
                ) from error
        file.seek(0)
        file.truncate()
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        yield


def claim_workdir(workdir: Path, config: ConfigDict, construction: Construction) -> None:
    """Writes what the run is, or checks that a run to be resumed still is the same.

    `training_set.npz` holds the indices kept, those mixed and their partners.

    Raises:
      UserError: a folder that cannot be written; other images are left out or mixed than before.
    """
    path = workdir / _TRAINING_SET
    chosen = {name: getattr(construction, name) for name in ('kept', 'mixed', 'partners')}
    if (workdir / CONFIG).exists() and path.exists():
        try:
            before = read_arrays(path)
        except UserError as error:
            raise UserError(f'{error}; delete it, and it is made again') from error
        before = before if isinstance(before, dict) else {}
        changed = [name for name in chosen if not np.array_equal(before.get(name), chosen[name])]
        if changed:
            raise UserError(
                f'--workdir={workdir}: was begun with other images ({", ".join(changed)} differ); '
                'has config.removal.scores been written anew? Choose another folder'
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_sealed_json(workdir / CONFIG, config.to_dict())
        write_whole(path, lambda file: np.savez(file, **chosen))
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error
