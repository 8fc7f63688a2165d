"""Executes the runs of a grid as Slurm jobs, with submitit."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import DelayedSubmission
from tqdm import tqdm

from contrastive_jax.runtime.preemption import blocked

from .cells import GridError
from .children import Children, on_stop
from .display import print_line
from .local import BUSY, Outcome, execute
from .planning import Run

__all__ = ['RunJob', 'run_all']

_POLL_SECONDS = 5
# Options of submitit that are on or off.
_SWITCHES = ('exclusive', 'use_srun', 'stderr_to_stdout')
# A time limit is no failure. A run is given up after so many jobs in a row that saved nothing new.
_TIME_LIMITS = 2**31
_JOBS_WITHOUT_PROGRESS = 3
# The signal that submitit asks Slurm to send before the time limit.
_SIGNAL = signal.SIGUSR2
_DAY = 24 * 60


class RunJob:
    """A run as submitit calls it; after a time limit or a preemption it is called again."""

    def __init__(self, run: Run):
        """Stores the run and the number of jobs in a row that saved nothing new."""
        self.run = run
        self.without_progress = 0

    def __call__(self) -> str:
        """Executes the run; returns why it failed, or an empty text.

        Before the time limit Slurm signals the job, and the handler of submitit would queue it
        again at once, which kills the command before it has saved. So the command is asked to stop
        first, and the handler is called when the command has ended.
        """
        before, children = self.run.saved(), Children()
        queue_again = signal.signal(_SIGNAL, lambda *_: children.ask())
        outcome = execute(self.run, children)
        signal.signal(_SIGNAL, queue_again)
        if not outcome.stopped or outcome.reason == BUSY:
            return outcome.reason
        self.without_progress = 0 if self.run.saved() != before else self.without_progress + 1
        if self.without_progress == _JOBS_WITHOUT_PROGRESS:
            return (
                f'{_JOBS_WITHOUT_PROGRESS} jobs in a row were stopped before they had saved '
                'anything new; give them more time, as --slurm=time=MINUTES'
            )
        if _is_cancelled(os.environ.get('SLURM_JOB_ID', '')):
            return 'its job was cancelled'
        # This ends the process.
        if callable(queue_again):
            queue_again(_SIGNAL, None)
        return 'submitit did not queue it again'

    def checkpoint(self) -> DelayedSubmission:
        """The job to submit after a preemption: the same one, because it resumes by itself."""
        return DelayedSubmission(self)


def run_all(runs: Sequence[Run], folder: Path, options: Mapping[str, str]) -> list[Outcome]:
    """Submits the runs that are neither done nor queued, waits for all, and returns their outcomes.

    Ctrl-C or SIGTERM ends the waiting; the jobs stay in the queue.

    Args:
      runs: the runs; a run comes after the one that it needs.
      folder: folder of the workdirs; submitit writes its own files below it.
      options: options of submitit, such as `partition`.

    Raises:
      GridError: an option that submitit does not know, or that Slurm refuses.
    """
    stopping: list[bool] = []
    with on_stop(lambda _: stopping.append(True)):
        outcomes, jobs = _submit_all(runs, folder / 'slurm', options, stopping)
        waiting = [run for run in runs if run.folder in jobs]
        if waiting:
            line = f'waits for {len(waiting)} jobs of Slurm: {_numbers(waiting, jobs)}'
            print_line(line, sys.stderr)
        with tqdm(total=len(waiting), unit='run', disable=None) as progress:
            while waiting and not stopping:
                ended = _ended(waiting)
                for run in ended:
                    outcomes.append(Outcome(run, _reason(run, folder / 'slurm', jobs[run.folder])))
                    if progress.disable:
                        print_line(f'{run.title}: {outcomes[-1].reason or "done"}')
                waiting = [run for run in waiting if run not in ended]
                progress.update(len(ended))
                if waiting:
                    _sleep(stopping)
    if waiting:
        print_line(
            f'{len(waiting)} jobs go on in the queue; the same command waits for them again. '
            f'To cancel them: scancel {_numbers(waiting, jobs)}'
        )
    return [*outcomes, *(Outcome(run, 'is in the queue', stopped=True) for run in waiting)]


def _numbers(runs: Sequence[Run], jobs: Mapping[Path, str]) -> str:
    return ' '.join(jobs[run.folder] for run in runs)


def _ended(waiting: Sequence[Run]) -> list[Run]:
    """Runs whose jobs have left the queue.

    submitit cannot tell, because it takes a job that was preempted and runs again for ended.
    """
    queued = _queued()
    return [] if queued is None else [run for run in waiting if run.folder.name not in queued]


def _submit_all(
    runs: Sequence[Run], folder: Path, options: Mapping[str, str], stopping: Sequence
) -> tuple[list[Outcome], dict[Path, str]]:
    """Outcomes of the runs that need no job, and the job numbers of the others by their folder."""
    outcomes, jobs = [], {}
    queued = _queued()
    if queued is None:
        raise GridError('--slurm: squeue does not answer; is this a machine of the cluster?')
    for run in runs:
        if run.done():
            outcomes.append(Outcome(run, ''))
        elif (job := queued.get(run.folder.name)) is not None:
            if _job(folder, job).paths.submitted_pickle.exists():
                jobs[run.folder] = job
            else:
                outcomes.append(Outcome(run, f'is job {job} of another --runs folder already'))
        elif stopping:
            outcomes.append(Outcome(run, 'was not submitted', stopped=True))
        else:
            before = None if run.needs is None else jobs.get(run.needs)
            jobs[run.folder] = _submit(run, before, folder, options)
    return outcomes, jobs


def _submit(run: Run, before: str | None, folder: Path, options: Mapping[str, str]) -> str:
    """Submits a run that starts after the job `before`; returns the number of its job."""
    texts = dict(options)
    minutes = _minutes(texts.pop('time', str(_DAY)))
    limits = texts.pop('max_num_timeout', str(_TIME_LIMITS))
    if not limits.isdecimal():
        raise GridError(f'--slurm=max_num_timeout={limits}: must be a whole number from 0 up')
    values = {name: _value(name, text) for name, text in texts.items()}
    # Slurm checks time limits twice a minute, so a short job needs a shorter delay.
    given = {'time': minutes, 'signal_delay_s': min(90, 20 * minutes), **values}
    if (cores := values.get('cpus_per_task')) is not None:
        # Since Slurm 22.05 srun does not take it from sbatch.
        given['srun_args'] = [f'--cpus-per-task={cores}', *values.get('srun_args', [])]
    if before is not None:
        own = texts.get('dependency')
        if own and '?' in own:
            raise GridError(
                f'--slurm=dependency={own}: ? cannot be joined with the run that this one needs; '
                'separate them by a comma, or leave it out'
            )
        given['dependency'] = ','.join([*([own] if own else []), f'afterany:{before}'])
    try:
        executor = submitit.AutoExecutor(folder, cluster='slurm', slurm_max_num_timeout=int(limits))
        executor.update_parameters(
            **{f'slurm_{name}': value for name, value in given.items()},
            name=run.folder.name,
            slurm_additional_parameters={'requeue': True},
        )
        # Otherwise Ctrl-C would interrupt `sbatch` as well.
        with blocked([signal.SIGINT]):
            return executor.submit(RunJob(run)).job_id
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines() or ['submitit gives no reason']
        raise GridError(f'--slurm: {reason[0]}') from error


def _value(name: str, text: str) -> Any:
    """An option of --slurm as submitit takes it; a switch needs no value."""
    if name == 'srun_args':
        try:
            return shlex.split(text)
        except ValueError as error:
            raise GridError(
                f'--slurm=srun_args={text}: must be words as in a shell ({error}); close the quote'
            ) from error
    if name in _SWITCHES and text.lower() in ('', 'true', 'false'):
        # submitit would write `--exclusive=False`, and leaves out None.
        return (None if name == 'exclusive' else False) if text.lower() == 'false' else True
    if not text:
        raise GridError(f'--slurm={name}: needs a value, {name}=VALUE')
    # An account may be 007.
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def _minutes(text: str) -> int:
    """Minutes, rounded up, of a time limit in the format of sbatch, such as 90, 1:30:00 or 2-12."""
    if not (match := re.fullmatch(r'(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?', text)):
        raise GridError(
            f'--slurm=time={text}: must be minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS'
        )
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number is not None]
    # Without days, one or two numbers begin with minutes.
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    return -(-(int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds) // 60)


def _reason(run: Run, folder: Path, job_id: str) -> str:
    """Why a run whose job has left the queue is not done; empty if it is done."""
    if run.done():
        return ''
    job = _job(folder, job_id)
    if not job.paths.result_pickle.exists():
        return f'Slurm ended job {job_id}; see {job.paths.stderr}'
    try:
        return job.result() or f'job {job_id} left it unfinished; see {run.log}'
    except FailedJobError as error:
        traces = [line for line in str(error).splitlines() if 'Error: ' in line]
        return traces[-1] if traces else f'job {job_id} failed; see {job.paths.stderr}'


def _job(folder: Path, number: str) -> submitit.SlurmJob:
    return submitit.SlurmJob(folder, number, tasks=[0])


def _is_cancelled(job: str) -> bool:
    """Whether Slurm is ending a job, because it was cancelled or will be queued again."""
    # A cancelled job must not queue itself again.
    return _squeue(f'--jobs={job}', '--format=%T') in (['COMPLETING'], ['CANCELLED'])


def _queued() -> dict[str, str] | None:
    """Numbers of the waiting and running jobs of this user by name; None if Slurm is silent."""
    lines = _squeue('--me', '--format=%j %i')
    return None if lines is None else dict(line.rpartition(' ')[::2] for line in lines)


def _squeue(*options: str) -> list[str] | None:
    """The lines that squeue prints; None if it fails, as on a busy cluster."""
    # These variables of a user would filter and sort what it prints.
    plain = {name: x for name, x in os.environ.items() if not name.startswith('SQUEUE_')}
    try:
        # Ctrl-C must reach the sweep alone.
        with blocked([signal.SIGINT]):
            done = subprocess.run(
                ['squeue', '--noheader', *options],
                capture_output=True,
                text=True,
                # Names of other jobs need not be text.
                errors='replace',
                check=True,
                env=plain,
            )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()


def _sleep(stopping: Sequence) -> None:
    """Waits until the next query of Slurm, or until the user stops the sweep."""
    deadline = time.monotonic() + _POLL_SECONDS
    while not stopping and time.monotonic() < deadline:
        time.sleep(0.1)
