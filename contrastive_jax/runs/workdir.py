"""The workdir: checks that it belongs to one run, and locks it while the run trains."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from contrastive_jax.config import completed, differences
from contrastive_jax.data.constructions import Construction
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import read_arrays, read_json, write_sealed_json, write_whole
from contrastive_jax.randomness import STREAMS

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
# The edition of the random streams of a run whose file was lost.
_UNKNOWN = 0
# Files of a run. None of these may exist without the config.
_OWN = (RESULT, 'metrics.jsonl', 'checkpoints', TRAINING_SET)


def check_outside_data(path: Path, flag: str, data: ConfigDict) -> None:
    """Raises UserError if an output folder is the image folder or lies in it.

    Pictures in it would become images of the data set, and the folder itself a class.

    Args:
      path: the output folder.
      flag: the flag that names it, for messages.
      data: the section `data` of a config.
    """
    if data.name != 'folder' or data.data_dir is None:
        return
    # Both with links followed and as written, because the data folder may contain links.
    folders, outputs = ({each.resolve(), each.absolute()} for each in (Path(data.data_dir), path))
    if folders & {parent for output in outputs for parent in (output, *output.parents)}:
        moved = '; a run that is there already goes on after its folder was moved'
        raise UserError(
            f'{flag}={path}: is in the data folder (config.data.data_dir={data.data_dir!r}), where '
            f'it would become a part of the data; choose a folder outside it'
            f'{moved if (path / CONFIG).exists() else ""}'
        )


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError unless the folder is the workdir of this run, or can become it."""
    check_outside_data(workdir, '--workdir', config.data)
    if not (workdir / CONFIG).exists():
        existing = [name for name in _OWN if (workdir / name).exists()]
        if existing or (workdir.exists() and not workdir.is_dir()):
            raise UserError(
                f'--workdir={workdir}: holds {", ".join(existing) or "a file"} but no {CONFIG}, '
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
    """Keeps other processes from training in the folder; creates the folder if necessary.

    The lock ends with the process in every case. The file `lock` names its holder.

    Raises:
      UserError: another process holds the lock, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # Links are not followed, because the file is overwritten.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(workdir / 'lock', flags, 0o666), 'r+')
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error
    with file:
        try:
            # This kind of lock belongs to the process alone: its children do not hold it.
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


def claim_workdir(
    workdir: Path, config: ConfigDict, construction: Construction, *, held_out: bool = False
) -> None:
    """Writes the config and the training set of a new run, or checks those of a resumed run.

    `training_set.npz` holds the indices kept, those mixed and their partners, and the edition of
    the random streams (`randomness.STREAMS`).

    Args:
      workdir: folder of the run.
      config: the whole config.
      construction: what the run trains on.
      held_out: whether the test images were drawn from the training images.

    Raises:
      UserError: the folder cannot be written; other images are left out, mixed or held out than
        before.
    """
    path = workdir / TRAINING_SET
    edition = STREAMS
    if (workdir / CONFIG).exists():
        edition = check_images(workdir, construction, held_out=held_out)
        if edition != STREAMS:
            logging.warning(
                '%s: was begun by a version that draws batches in another order; the steps from '
                'here on are in the order of this version, so the encoder will not be the one that '
                'either version alone trains',
                workdir,
            )
        if path.exists():
            return
    chosen = {name: getattr(construction, name) for name in _CHOSEN}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_sealed_json(workdir / CONFIG, config.to_dict())
        write_whole(path, lambda file: np.savez(file, streams=edition, **chosen))
    except OSError as error:
        raise UserError(f'--workdir={workdir}: cannot be written ({error.strerror})') from error


def check_images(workdir: Path, construction: Construction, *, held_out: bool = False) -> int:
    """Checks that a run still has the training images that it was started with.

    Args:
      workdir: folder of the run.
      construction: what the run trains on, by this version.
      held_out: whether the test images were drawn from the training images.

    Returns:
      The edition of the random streams of the run: `_UNKNOWN` if no file has it.

    Raises:
      UserError: other images are left out or mixed than before; images that the run may have
        trained on are held out for tests.
    """
    before = _training_set(workdir)
    streams = _edition(workdir, before)
    if held_out and streams != STREAMS:
        raise UserError(
            f'--workdir={workdir}: was begun by {_version(streams)}, which may have held out other '
            'images for tests: this version would test on images that the run trained on. Go on '
            'with that version, or put the test images into test/ and train again in another folder'
        )
    if before is None:
        return streams
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
            f'--workdir={workdir}: {differ}: the version that began it draws them otherwise; go '
            'on with that version, or choose another folder'
        )
    raise UserError(
        f'--workdir={workdir}: {differ}; has config.removal.scores been written anew? Choose '
        'another folder'
    )


def _training_set(workdir: Path) -> dict[str, np.ndarray] | None:
    """The arrays of `training_set.npz`; None without that file."""
    path = workdir / TRAINING_SET
    if not path.exists():
        return None
    try:
        before = read_arrays(path)
    except UserError as error:
        raise UserError(
            f'{error}; restore it from a copy. Without a copy, delete it, and it is made again, but '
            'the version that began the run is then unknown: a run whose test images were drawn '
            'from its training images is refused'
        ) from error
    return before if isinstance(before, dict) else {}


def _edition(workdir: Path, before: Mapping[str, np.ndarray] | None) -> int:
    """The edition of the random streams of a run, by its `training_set.npz`."""
    if before is not None:
        return int(before.get('streams', 1))
    # A run that was stopped before it wrote the file has no checkpoint either.
    steps = (path for path in (workdir / 'checkpoints').glob('*') if path.name.isdigit())
    return _UNKNOWN if any(steps) else STREAMS


def _version(streams: int) -> str:
    return 'an unknown version' if streams == _UNKNOWN else f'a version of edition {streams}'
