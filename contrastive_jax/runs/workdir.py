"""The folder of a run: its files, its lock, and the check that it belongs to the config."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from absl import logging
from ml_collections import ConfigDict

from contrastive_jax.config import completed, differences, restored
from contrastive_jax.errors import UserError
from contrastive_jax.runs.names import (
    CONFIG,
    DYNAMICS,
    ENCODER,
    IMAGES,
    METRICS,
    RESULT,
    START,
    TRAINING_SET,
)
from contrastive_jax.runtime.files import read_json
from contrastive_jax.runtime.locks import take_lock

__all__ = [
    'check_outside_data',
    'check_outside_data_of',
    'check_workdir',
    'finished',
    'has_checkpoint',
    'locked',
    'unwritable',
]

_LOCK = 'lock'
# How the text in it begins.
_HOLDER = 'process '
# Fields that say how long a run trains.
_LENGTHS = ('epochs', 'steps', 'equal_updates')
# Files of a run. None of these may exist without the config.
_OWN = (RESULT, METRICS, 'checkpoints', TRAINING_SET, DYNAMICS, ENCODER, IMAGES, START)


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


def check_outside_data_of(workdirs: Iterable[Path], out: Path, flag: str = '--out') -> None:
    """Raises UserError if what is written lies in the image folder of one of some runs.

    Args:
      workdirs: folders of runs; those whose config cannot be read are left to the caller.
      out: what a command will write, a file or a folder.
      flag: that names it, for messages.
    """
    for workdir in workdirs:
        config = None
        with contextlib.suppress(OSError, UserError):
            config = restored(read_json(workdir / CONFIG))
        if config is not None:
            check_outside_data(out, flag, config.data)


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError unless the folder is the workdir of this run, or can become it."""
    if not (workdir / CONFIG).exists():
        leftovers = [name for name in _OWN if (workdir / name).exists()]
        if leftovers or (workdir.exists() and not workdir.is_dir()):
            raise UserError(
                f'--workdir={workdir}: holds {", ".join(leftovers) or "a file"} but no {CONFIG}, '
                'so it is not known whose it is; choose another folder'
            )
        return
    try:
        stored = completed(read_json(workdir / CONFIG))
        # Scores that have moved are known by the images that they leave.
        movable = ('removal.scores',) if (workdir / TRAINING_SET).exists() else ()
        changed = differences(stored, config.to_dict(), movable)
    except UserError as error:
        raise UserError(f'{error}; restore it from a copy, or choose another --workdir') from error
    if changed:
        way_out = ''
        lengths_alone = all(line.partition(':')[0] in _LENGTHS for line in changed)
        if lengths_alone and _asks_for_more(workdir, stored, config):
            way_out = f'; to train it longer, another --workdir with --config.extend={workdir}'
        raise UserError(
            f'--workdir={workdir}: holds a run of another config ({"; ".join(changed)}); '
            f'choose another folder, or the same config to resume{way_out}'
        )


def _asks_for_more(workdir: Path, stored: Mapping[str, Any], config: ConfigDict) -> bool:
    """Whether a finished run would be trained longer by this config."""
    if not (workdir / RESULT).exists():
        return False
    if config.steps:
        # What is wrong with a damaged result is said where it is needed.
        with contextlib.suppress(UserError, KeyError):
            return config.steps > read_json(workdir / RESULT)['steps']
        return False
    return not stored['steps'] and config.epochs > stored['epochs']


def finished(workdir: Path) -> dict | None:
    """Returns the result of a finished run, and prints that nothing is left to do; else None.

    Raises:
      UserError: the result cannot be read or is damaged.
    """
    if not (workdir / RESULT).exists():
        return None
    try:
        result = read_json(workdir / RESULT)
    except UserError as error:
        raise UserError(f'{error}; delete it, and the same command probes again') from error
    print(f'{workdir} is finished: nothing to do. To train again, choose another --workdir.')
    return result


def has_checkpoint(workdir: Path) -> bool:
    """Whether the folder of a run holds a checkpoint, be it intact or not."""
    return any(path.name.isdigit() for path in (workdir / 'checkpoints').glob('*'))


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other processes from training in the folder; creates the folder if necessary.

    The lock ends with the process in every case. The file `lock` names its holder. If nothing else
    was written meanwhile, the file and the folders that were created for it are removed again.

    Raises:
      UserError: another process holds the lock, or the folder cannot be written.
    """
    made = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        before = {path.name for path in workdir.iterdir()}
        file = _locked_file(workdir)
    except OSError as error:
        # A finished run may lie where nothing can be written, and nothing will be.
        read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        if read_only and (workdir / RESULT).exists():
            yield
            return
        raise unwritable(workdir, error) from error
    unused = False
    try:
        with file:
            file.truncate()
            file.write(f'{_HOLDER}{os.getpid()} on {socket.gethostname()}\n')
            file.flush()
            try:
                yield
            finally:
                unused = {path.name for path in workdir.iterdir()} - before == {_LOCK}
                if unused:
                    (workdir / _LOCK).unlink()
    finally:
        # After the file is closed, because until then NFS keeps it under another name.
        if unused:
            _remove_empty(made)


def _check_own(lock: TextIO, workdir: Path) -> None:
    """Raises UserError if a file of this name holds what no run writes into it."""
    text = lock.read(len(_HOLDER))
    if not _HOLDER.startswith(text):
        lock.close()
        raise UserError(
            f'--workdir={workdir}: holds a file {_LOCK!r} that no run has written, and it would be '
            'replaced; choose another folder'
        )
    lock.seek(0)


def unwritable(workdir: Path, error: OSError) -> UserError:
    """What a user is told of a folder that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    way_out = 'make room, and give the same command again' if full else 'give another folder'
    return UserError(f'--workdir={workdir}: cannot be written ({error.strerror}); {way_out}')


def _remove_empty(folders: Iterable[Path]) -> None:
    """Removes the folders up to the first that is not empty, as when another run is in it."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _locked_file(workdir: Path) -> TextIO:
    """The lock file, opened and locked."""
    file, held = take_lock(workdir / _LOCK)
    if held is False:
        holder = file.read().strip() or 'another process'
        file.close()
        raise UserError(
            f'--workdir={workdir}: {holder} is training here; wait for it, or choose another folder'
        )
    if held is None:
        logging.warning('%s: cannot be locked; start one run only', workdir)
    _check_own(file, workdir)
    return file
