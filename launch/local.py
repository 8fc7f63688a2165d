"""Executes the runs of a grid on this machine, some at a time."""

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NamedTuple

from absl import logging

from contrastive_jax.runtime import preemption

from . import accelerators
from .children import Children, on_stop
from .display import Display, print_line
from .planning import Run, file_beside

__all__ = ['BUSY', 'Outcome', 'execute', 'run_all']

BUSY = 'is being run by another process'


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      run: the run.
      reason: why it is not done; empty if it is done.
      stopped: whether it has not failed, so that the same command goes on with it: it was stopped,
        was not started, or another process runs it.
    """

    run: Run
    reason: str
    stopped: bool = False


def execute(
    run: Run, children: Children | None = None, variables: Mapping[str, str] | None = None
) -> Outcome:
    """Executes the remaining commands of a run; their output goes to its log.

    Two launchers cannot write to one workdir: the commands inherit a lock, which they hold even
    after their launcher was killed.

    Args:
      run: the run.
      children: runs the commands; None if nothing stops them.
      variables: what is added to the environment of the commands.

    Returns:
      How the run ended; a file that cannot be used is a failure of the run.
    """
    try:
        return _execute(run, children or Children(), variables or {})
    except OSError as error:
        file, reason = error.filename or run.folder, error.strerror or error
        return Outcome(run, f'{file}: {reason}; repair it, and give the same command again')


def _execute(run: Run, children: Children, variables: Mapping[str, str]) -> Outcome:
    if run.done():
        return Outcome(run, '')
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with file_beside(run.folder, '.lock').open('w') as lock, run.log.open('a') as log:
        try:
            if not _take(lock):
                return Outcome(run, BUSY, stopped=True)
        except OSError as error:
            # Some network file systems have no locks. One warning is enough for all runs.
            logging.log_first_n(
                logging.WARNING,
                '%s: cannot be locked (%s); start one sweep at a time there',
                1,
                run.folder.parent,
                error.strerror,
            )
        for command, made in zip(run.commands, run.makes, strict=True):
            if made.exists():
                continue
            if children.stopping:
                return Outcome(run, 'was not started', stopped=True)
            status = children.run(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                env={**os.environ, **variables},
            )
            # A negative status: SIGTERM came before its handler, or a second Ctrl-C killed it.
            if status == preemption.STATUS or (children.stopping and status < 0):
                return Outcome(run, 'was stopped', stopped=True)
            if status:
                return Outcome(run, f'exit status {status}')
    missing = [path.name for path in run.makes if not path.exists()]
    return Outcome(run, f'made no {", ".join(missing)}' if missing else '')


def _take(lock: IO) -> bool:
    """Whether this process has the lock now. `--status` may hold it for an instant."""
    for _ in range(3):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            time.sleep(0.05)
        else:
            return True
    return False


def run_all(runs: Sequence[Run], jobs: int) -> list[Outcome]:
    """Executes runs, `jobs` at a time, each after the run that it needs. A failure stops no run.

    After Ctrl-C, SIGTERM or SIGHUP no run starts, and the running ones save and end. A second
    Ctrl-C or SIGTERM kills them.

    Args:
      runs: the runs; a run comes after the one that it needs.
      jobs: number of runs at a time.
    """
    children = Children()
    running: dict[Path, Run] = {}
    change = threading.Lock()
    futures: dict = {}
    names = accelerators.gpus()
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)
    if line := accelerators.describe(names, jobs):
        print_line(line)

    def work(run: Run) -> Outcome:
        before: Future | None = futures.get(run.needs)
        if before is not None and before.result().reason:
            needed = before.result()
            if needed.stopped:
                return Outcome(run, 'was not started', stopped=True)
            return Outcome(run, f'needs {needed.run.title}, which failed')
        slot = slots.get()
        with change:
            running[run.folder] = run
        try:
            return execute(run, children, accelerators.variables(slot, names, jobs))
        finally:
            slots.put(slot)
            with change:
                running.pop(run.folder, None)

    # A run is submitted after the run that it needs, so there is no deadlock. Runs that need none
    # come first, because a waiting run occupies a worker.
    pool = ThreadPoolExecutor(jobs)
    with on_stop(lambda number: _stop(children, number)):
        try:
            for run in sorted(runs, key=lambda run: run.needs is not None):
                futures[run.folder] = pool.submit(work, run)
            outcomes: list[Outcome] = []
            pending = set(futures.values())
            with Display(jobs, runs) as display:
                while pending:
                    ended, pending = wait(pending, display.seconds, FIRST_COMPLETED)
                    for future in ended:
                        outcome = future.result()
                        outcomes.append(outcome)
                        line = _line(outcomes, len(runs))
                        display.ended(outcome.run, line, done=not outcome.reason)
                    with change:
                        display.show(list(running.values()))
            return outcomes
        finally:
            pool.shutdown(cancel_futures=True)


def _line(outcomes: Sequence[Outcome], total: int) -> str:
    """The line that is printed when a run has ended."""
    last = outcomes[-1]
    return f'{len(outcomes)} of {total}: {last.run.title}: {last.reason or "done"}'


def _stop(children: Children, number: int) -> None:
    if children.stopping and number == signal.SIGHUP:
        # A terminal and its shell may both send it, and then nobody has asked twice.
        return
    if children.stopping:
        children.kill()
        line = b'the runs are killed'
    else:
        children.ask()
        line = b'the runs save and end; a second signal kills them'
    # Last, because the terminal, or the reader of the pipe, may have ended before. `print` is not
    # safe here, because the signal may have interrupted another `print`.
    with contextlib.suppress(OSError):
        os.write(2, b'\nstopping: ' + line + b'\n')
