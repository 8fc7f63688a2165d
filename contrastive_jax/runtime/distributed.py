"""One run in many processes: how they join, which rows each one has, and which one writes.

Every process executes the same program on its own devices. One process alone needs none of this.

Axes: n rows of all processes.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from contrastive_jax.errors import LoneError, UserError
from contrastive_jax.runtime import preemption, progress, rendezvous

__all__ = [
    'ProcessInfo',
    'by_all',
    'by_writer',
    'check_same',
    'first_message',
    'gather_rows',
    'is_writer',
    'one_voice',
    'or_leave',
    'own_rows',
    'start',
    'started_as_one_of_many',
]

T = TypeVar('T')

_MESSAGE_BYTES = 2000
# Long enough for machines that start one after the other, short enough for a mistyped address.
_PATIENCE_SECONDS = 120.0
# A process that sends no heartbeat for so long counts as lost.
_SILENCE_SECONDS = 30
# How XLA's errors begin, and how those that a lost process causes in the others.
_STATUS = re.compile('[A-Z_]{7,}: ')
_LOST = re.compile('(UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ')
# These may also be faults of the program itself, unless they speak of the others.
_UNCLEAR = re.compile('(UNKNOWN|INTERNAL): ')
_OTHERS = re.compile(
    'gloo|nccl|rccl|connection|socket|peer|heartbeat|coordination|another task', re.I
)
_FLAGS = '--coordinator_address=HOST:PORT --num_processes=N --process_id=I'


class ProcessInfo(NamedTuple):
    """Which process of a run this is; all None if the cluster knows it.

    Attributes:
      coordinator_address: host and port of process 0.
      num_processes: number of processes.
      process_id: number of this process, from 0.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def started_as_one_of_many(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `srun` or a Cloud TPU has started this process as one of many.

    The batch script of a Slurm job and its plain commands are one process alone.
    """
    on_tpu = any(Path('/dev').glob('accel*')) or Path('/dev/vfio/0').exists()
    return int(environ.get('SLURM_STEP_NUM_TASKS', 1)) > 1 or (
        on_tpu and importlib.util.find_spec('libtpu') is not None
    )


def start(wanted: bool | None, info: ProcessInfo, patience: float = _PATIENCE_SECONDS) -> None:
    """Joins the other processes. Call it before JAX sees a device.

    Args:
      wanted: True to join, False not to join; None to join if `info` is set or a cluster has
        started this process as one of many.
      info: from the command line, for processes that no cluster has started.
      patience: seconds to wait for the other processes.

    Raises:
      UserError: incomplete or impossible `info`, or processes that do not come.
    """
    given = [value is not None for value in info]
    if wanted is None:
        wanted = any(given) or started_as_one_of_many()
    if not wanted:
        return
    if any(given) and not all(given):
        raise UserError(f'--distributed: give all of {_FLAGS}, or none on Slurm and Cloud TPU')
    address, count, number = info if all(given) else _info_of_slurm()
    if address is not None and count is not None and number is not None:
        if not 0 <= number < count:
            raise UserError(
                f'--process_id={number}: must be from 0 to {count - 1}, one less than '
                f'--num_processes={count}'
            )
        rendezvous.meet(address, count, number, patience)
    try:
        jax.distributed.initialize(
            *info,
            initialization_timeout=int(_PATIENCE_SECONDS),
            heartbeat_timeout_seconds=_SILENCE_SECONDS,
        )
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f'--distributed: could not join the other processes ({reason}); start this under srun '
            f'or on a Cloud TPU, or in every process with {_FLAGS}, or give --nodistributed'
        ) from error


def _info_of_slurm() -> ProcessInfo:
    """What JAX reads from Slurm; all None without Slurm."""
    # Only JAX knows which port it takes. If a later version hides this class, JAX alone connects.
    try:
        from jax._src.clusters import SlurmCluster

        if not SlurmCluster.is_env_present():
            return ProcessInfo()
        port = os.environ.get('JAX_COORDINATOR_PORT')
        address = SlurmCluster.get_coordinator_address(None, port)
        return ProcessInfo(address, SlurmCluster.get_process_count(), SlurmCluster.get_process_id())
    except (ImportError, AttributeError, TypeError):
        return ProcessInfo()


def is_writer() -> bool:
    """Whether this is process 0, which writes logs and results and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Silences standard output and progress of all processes but 0; errors are still printed."""
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
    """If this process cannot go on with the others, prints one line and ends it at once.

    A normal cleanup would wait for a process that has ended, or that waits for this one. The status
    is `preemption.STATUS` if another process seems to be lost, and 1 for every other error.

    Raises:
      LoneError, jax.errors.JaxRuntimeError, ValueError: in a run of one process; and in any run a
        ValueError that XLA has not raised.
    """
    try:
        yield
    # It is a ValueError too, so it comes first.
    except LoneError as error:
        if jax.process_count() == 1:
            raise
        _leave(f'cannot go on: {error}', 1)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if jax.process_count() == 1 or not _of_xla(error):
            raise
        reason = str(error).partition('\n')[0]
        if not _by_others(reason):
            _leave(f'cannot go on: {reason}', 1)
        _leave(
            f'cannot go on: {reason}. Most likely another process has ended: see what it wrote. '
            'The same command, given to all of them, resumes from the newest checkpoint',
            preemption.STATUS,
        )


def _by_others(reason: str) -> bool:
    """Whether an error of XLA comes from a process that is lost, or from the way to it."""
    if _UNCLEAR.match(reason):
        return _OTHERS.search(reason) is not None
    return _LOST.match(reason) is not None


def _of_xla(error: Exception) -> bool:
    """Whether an error comes from a program; JAX raises ValueError if one fails at its dispatch."""
    if isinstance(error, UserError):
        return False
    return isinstance(error, jax.errors.JaxRuntimeError) or _STATUS.match(str(error)) is not None


def _leave(message: str, status: int) -> NoReturn:
    who = f'process {jax.process_index()} of {jax.process_count()}'
    # Nobody may read it any more, and this process must end all the same.
    with contextlib.suppress(OSError):
        print(f'error: {who} {message}', file=sys.stderr, flush=True)
    os._exit(status)


def by_all(action: Callable[[], T]) -> T:
    """What `action` returns in this process; if one raises UserError, all of them raise it."""
    message, results = '', []
    try:
        results.append(action())
    except UserError as error:
        message = str(error)
    message = first_message(message)
    if message:
        raise UserError(message)
    return results[0]


def by_writer(action: Callable[[], object]) -> None:
    """Runs `action` on process 0 while the others wait; if it raises UserError, all raise it."""
    by_all(lambda: action() if is_writer() else None)


def first_message(message: str) -> str:
    """The message of the first process whose message is not empty; empty if there is none."""
    if jax.process_count() == 1:
        return message
    code = np.zeros(_MESSAGE_BYTES, np.uint8)
    # Names of files need not be UTF-8.
    text = np.frombuffer(message.encode(errors='backslashreplace')[:_MESSAGE_BYTES], np.uint8)
    code[: len(text)] = text
    everyone = multihost_utils.process_allgather(code)
    messages = everyone[everyone.any(axis=1)]
    return bytes(messages[0]).rstrip(b'\0').decode(errors='ignore') if len(messages) else ''


def check_same(text: str, what: str) -> None:
    """Raises UserError in every process unless all processes pass the same text."""
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
    """The rows of this process: `n` rows in equal shares, but the last process may have fewer."""
    share = -(-n // jax.process_count())
    first = min(n, jax.process_index() * share)
    return slice(first, min(n, first + share))


def gather_rows(rows: np.ndarray, n: int) -> np.ndarray:
    """Gathers `n` rows, `[n, ...]`; each process passes the rows that `own_rows` names."""
    if jax.process_count() == 1:
        return rows
    share = -(-n // jax.process_count())
    padded = np.zeros((share, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return np.asarray(multihost_utils.process_allgather(padded, tiled=True))[:n]
