"""One run in many processes: who starts them, which rows are whose, and which of them writes.

Every process executes the same program on its own devices. With one process all of this is nothing.

Axes: n rows of the whole run.
"""

import contextlib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from contrastive_jax import preemption, progress
from contrastive_jax.errors import UserError

__all__ = [
    'Place',
    'by_writer',
    'check_same',
    'first_said',
    'gather_rows',
    'is_writer',
    'one_voice',
    'or_leave',
    'own_rows',
    'start',
    'started_as_one_of_many',
]

_MESSAGE_BYTES = 2000
# A process that finds no other must not wait for minutes on a mistyped address.
_PATIENCE_SECONDS = 120
# Until a process that says nothing counts as lost.
_SILENCE_SECONDS = 30
_FLAGS = '--coordinator_address=HOST:PORT --num_processes=N --process_id=I'


class Place(NamedTuple):
    """Which process this is; all None where the cluster says it.

    Attributes:
      coordinator_address: host and port of process 0.
      num_processes: how many there are.
      process_id: this one's number, from 0.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def started_as_one_of_many(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `srun` or a Cloud TPU has started this process beside others.

    Not everything inside a Slurm job is: the batch script and its plain commands are one process.
    """
    on_tpu = any(Path('/dev').glob('accel*')) or Path('/dev/vfio/0').exists()
    return int(environ.get('SLURM_STEP_NUM_TASKS', 1)) > 1 or (
        on_tpu and importlib.util.find_spec('libtpu') is not None
    )


def start(wanted: bool | None, place: Place) -> None:
    """Joins the other processes, before JAX sees any device.

    Args:
      wanted: True to join, False not to; None to join where a cluster has started this process as
        one of many or a place is given.
      place: from the command line, for processes that no cluster has started.

    Raises:
      UserError: half a place, one that cannot be, or nobody there to join.
    """
    given = [value is not None for value in place]
    if wanted is None:
        wanted = any(given) or started_as_one_of_many()
    if not wanted:
        return
    if any(given) and not all(given):
        raise UserError(f'--distributed: give all of {_FLAGS}, or none on Slurm and Cloud TPU')
    try:
        jax.distributed.initialize(
            *place,
            initialization_timeout=_PATIENCE_SECONDS,
            heartbeat_timeout_seconds=_SILENCE_SECONDS,
        )
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f'--distributed: could not join the other processes ({reason}); start this under srun '
            f'or on a Cloud TPU, or in every process with {_FLAGS}, or give --nodistributed'
        ) from error


def is_writer() -> bool:
    """Whether this is the process that writes logs and results, and talks."""
    return jax.process_index() == 0


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Silences what the other processes print; their errors are heard."""
    if is_writer():
        yield
        return
    with (
        open(os.devnull, 'w') as nowhere,
        contextlib.redirect_stdout(nowhere),
        progress.muted(),
    ):
        yield


@contextlib.contextmanager
def or_leave() -> Iterator[None]:
    """Ends this process at once, with one line, when what all do together fails.

    Another process has ended then, most often, and to clean up as after other errors would mean to
    wait for it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = str(error).splitlines()[0]
        print(
            f'error: process {jax.process_index()} of {jax.process_count()} cannot go on: '
            f'{reason}. Most likely another process has ended: see what it wrote. The same '
            'command, given to all of them, resumes from the newest checkpoint',
            file=sys.stderr,
            flush=True,
        )
        os._exit(preemption.STATUS)


def by_writer(action: Callable[[], object]) -> None:
    """Lets the writer do something while all wait; its UserError is raised in every process."""
    message = ''
    if is_writer():
        try:
            action()
        except UserError as error:
            message = str(error)
    message = first_said(message)
    if message:
        raise UserError(message)


def first_said(message: str) -> str:
    """What the first of all processes that has something to say says; empty if none has."""
    if jax.process_count() == 1:
        return message
    code = np.zeros(_MESSAGE_BYTES, np.uint8)
    text = np.frombuffer(message.encode()[:_MESSAGE_BYTES], np.uint8)
    code[: len(text)] = text
    everyone = multihost_utils.process_allgather(code)
    said = everyone[everyone.any(axis=1)]
    return bytes(said[0]).rstrip(b'\0').decode(errors='ignore') if len(said) else ''


def check_same(text: str, what: str) -> None:
    """Raises UserError in every process unless all of them hold the same text."""
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    everyone = multihost_utils.process_allgather(digest)
    other = np.flatnonzero((everyone != everyone[0]).any(axis=1))
    if other.size:
        raise UserError(
            f'--distributed: processes {other.tolist()} have other {what} than process 0; give all '
            'of them the same command and the same data'
        )


def own_rows(n: int) -> slice:
    """The part of `n` rows that is this process's: equal ones, but the last may have fewer."""
    share = -(-n // jax.process_count())
    first = min(n, jax.process_index() * share)
    return slice(first, min(n, first + share))


def gather_rows(rows: np.ndarray, n: int) -> np.ndarray:
    """All `n` rows, `[n, ...]`, of which each process brings those of `own_rows`."""
    if jax.process_count() == 1:
        return rows
    share = -(-n // jax.process_count())
    padded = np.zeros((share, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return np.asarray(multihost_utils.process_allgather(padded, tiled=True))[:n]
