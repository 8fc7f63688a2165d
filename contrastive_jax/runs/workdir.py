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
from contrastive_jax.randomness import STREAMS
from contrastive_jax.runtime.files import read_arrays, read_json, write_sealed_json, write_whole

__all__ = [
    'CONFIG',
    'RESULT',
    'TRAINING_SET',
    'check_images',
    'check_outside_data',
    'check_workdir',
    'claim_workdir',
    'locked',
]

CONFIG, RESULT = 'config.json', 'result.json'
TRAINING_SET = 'training_set.npz'
_CHOSEN = ('kept', 'mixed', 'partners')
# What a run writes: none of these may be there before its config is.
_OWN = (RESULT, 'metrics.jsonl', 'checkpoints', TRAINING_SET)


def check_outside_data(path: Path, flag: str, data: ConfigDict) -> None:
    """Raises UserError if a folder to be written is the image folder, or is in it.

    Its pictures would be images of the data set, and the folder itself a class.

    Args:
      path: to be written.
      flag: that names it, for messages.
      data: the section `data` of a config.
    """
    if data.name != 'folder' or data.data_dir is None:
        return
    # With links followed, and as they are written: the data folder may hold a link to elsewhere.
    folders, written = ({each.resolve(), each.absolute()} for each in (Path(data.data_dir), path))
    if folders & {inside for each in written for inside in (each, *each.parents)}:
        moved = '; a run that is there already goes on after its folder was moved'
        raise UserError(
            f'{flag}={path}: is in the data folder (config.data.data_dir={data.data_dir!r}), where '
            f'it would become a part of the data; choose a folder outside it'
            f'{moved if (path / CONFIG).exists() else ""}'
        )


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError unless the folder is this run's, or free to become it."""
    check_outside_data(workdir, '--workdir', config.data)
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

    `training_set.npz` holds the indices kept, those mixed and their partners, and the edition of
    the random streams (`randomness.STREAMS`).

    Raises:
      UserError: a folder that cannot be written; other images are left out or mixed than before.
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
    """Checks that a run has the images that it was begun with.

    Returns:
      The edition of the random streams that it was begun with; 1 where there was no number yet.

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
        if not np.array_equal(before.get(name), getattr(construction, name))
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
