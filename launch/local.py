"""Runs of a grid on this machine, some at a time."""

import fcntl
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import NamedTuple

from tqdm import tqdm

from launch.plan import Run

__all__ = ['Outcome', 'execute', 'run_all']


class Outcome(NamedTuple):
    """What became of a run; an empty reason if all is well."""

    run: Run
    reason: str


def execute(run: Run) -> Outcome:
    """Executes what a run takes and has not been done, its output into its log.

    A lock that its commands inherit keeps two launchers, or a launcher and what a killed one left
    behind, from writing to one workdir.
    """
    if run.done():
        return Outcome(run, '')
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with run.folder.with_suffix('.lock').open('w') as lock, run.log.open('a') as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Outcome(run, 'is being run by another process')
        for command, made in zip(run.commands, run.makes, strict=True):
            if made.exists():
                continue
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
            )
            if done.returncode:
                return Outcome(run, f'exit status {done.returncode}')
    missing = [path.name for path in run.makes if not path.exists()]
    return Outcome(run, f'made no {", ".join(missing)}' if missing else '')


def run_all(runs: Sequence[Run], jobs: int) -> list[Outcome]:
    """Executes runs, `jobs` at a time, each after the one that it needs; failures stop no other.

    Args:
      runs: those that others need before them.
      jobs: how many at a time.
    """
    running: set[str] = set()
    change = threading.Lock()
    futures: dict = {}

    def work(run: Run) -> Outcome:
        before: Future | None = futures.get(run.needs)
        if before is not None and before.result().reason:
            return Outcome(run, f'needs {before.result().run.title}, which failed')
        with change:
            running.add(run.title)
        try:
            return execute(run)
        finally:
            with change:
                running.discard(run.title)

    # Whoever waits was submitted after whom it waits for, so that one of them can always go on; and
    # those that wait for nobody first, for who waits holds a place in which another could run.
    pool = ThreadPoolExecutor(jobs)
    try:
        for run in sorted(runs, key=lambda run: run.needs is not None):
            futures[run.folder] = pool.submit(work, run)
        outcomes = []
        progress = tqdm(as_completed(futures.values()), total=len(runs), unit='run', disable=None)
        for future in progress:
            outcomes.append(future.result())
            failed = sum(bool(outcome.reason) for outcome in outcomes)
            with change:
                progress.set_postfix_str(f'{failed} failed; now {"; ".join(sorted(running))}')
        return outcomes
    finally:
        pool.shutdown(cancel_futures=True)
