"""Runs of a grid as jobs of Slurm, by submitit."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import DelayedSubmission
from tqdm import tqdm

from .children import Children, blocked, on_stop
from .local import Outcome, execute
from .plan import GridError, Run

__all__ = ['RunJob', 'run_all']

_POLL_SECONDS = 5
# Time limits are no failures: only jobs that save nothing new are counted, and these not for ever.
_TIME_LIMITS = 2**31
_JOBS_WITHOUT_PROGRESS = 3
# What submitit asks Slurm for at the time limit, and listens to.
_SIGNAL = signal.SIGUSR2
_DAY = 24 * 60


class RunJob:
    """A run as submitit calls it: again after a time limit or a preemption, when it resumes."""

    def __init__(self, run: Run):
        """Keeps the run, and counts the jobs in a row that saved nothing new."""
        self.run = run
        self.without_progress = 0

    def __call__(self) -> str:
        """Executes the run; returns why it failed, or nothing.

        At its time limit Slurm signals the job, and submitit's handler would queue it again at
        once, which kills the command before it has saved. So the command is asked to stop first,
        and the handler is called when it has ended.
        """
        before, children = self.run.saved(), Children()
        queue_again = signal.signal(_SIGNAL, lambda *_: children.ask())
        outcome = execute(self.run, children)
        signal.signal(_SIGNAL, queue_again)
        if not outcome.stopped:
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
        queue_again(_SIGNAL, None)
        return 'submitit did not queue it again'

    def checkpoint(self) -> DelayedSubmission:
        """What to submit when the job is taken away: the same, for it goes on by itself."""
        return DelayedSubmission(self)


def run_all(runs: Sequence[Run], folder: Path, options: Mapping[str, str]) -> list[Outcome]:
    """Submits what is neither done nor in the queue, waits for it, and says what became of it.

    Ctrl-C or SIGTERM ends the waiting; the jobs stay in the queue.

    Args:
      runs: those that others need before them.
      folder: receives submitit's own files.
      options: of submitit, such as `partition`.

    Raises:
      GridError: an option that submitit does not know, or Slurm refuses.
    """
    stopping: list[bool] = []
    with on_stop(lambda: stopping.append(True)):
        outcomes, jobs = _submit_all(runs, folder / 'slurm', options, stopping)
        waiting = [run for run in runs if run.folder in jobs]
        with tqdm(total=len(waiting), unit='run', disable=None) as progress:
            while waiting and not stopping:
                ended = _ended(waiting)
                for run in ended:
                    outcomes.append(Outcome(run, _reason(run, folder / 'slurm', jobs[run.folder])))
                    if progress.disable:
                        print(f'{run.title}: {outcomes[-1].reason or "done"}', flush=True)
                waiting = [run for run in waiting if run not in ended]
                progress.update(len(ended))
                if waiting:
                    _sleep(stopping)
    if waiting:
        numbers = ' '.join(jobs[run.folder] for run in waiting)
        print(
            f'{len(waiting)} jobs go on in the queue; the same command waits for them again. '
            f'To cancel them: scancel {numbers}',
            flush=True,
        )
    return [*outcomes, *(Outcome(run, 'is in the queue', stopped=True) for run in waiting)]


def _ended(waiting: Sequence[Run]) -> list[Run]:
    """Runs whose jobs have left the queue.

    submitit does not know: to it, a job that was taken away and runs again has ended.
    """
    queued = _queued()
    return [] if queued is None else [run for run in waiting if run.folder.name not in queued]


def _submit_all(
    runs: Sequence[Run], folder: Path, options: Mapping[str, str], stopping: Sequence
) -> tuple[list[Outcome], dict[Path, str]]:
    """Outcomes of what needs no job, and the number of every other run's job by its folder."""
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
            jobs[run.folder] = _submit(run, jobs.get(run.needs), folder, options)
    return outcomes, jobs


def _submit(run: Run, before: str | None, folder: Path, options: Mapping[str, str]) -> str:
    """Submits a run, to start after the job `before`; the number of its job."""
    options = {name: int(text) if text.isdigit() else text for name, text in options.items()}
    minutes = _minutes(str(options.pop('time', _DAY)))
    limits = options.pop('max_num_timeout', _TIME_LIMITS)
    if not isinstance(limits, int):
        raise GridError(f'--slurm=max_num_timeout={limits}: must be a whole number from 0 up')
    # Slurm looks at time limits every half a minute: a short job must not be signalled at once.
    given = {'time': minutes, 'signal_delay_s': min(90, 20 * minutes), **options}
    after = {} if before is None else {'dependency': f'afterany:{before}'}
    try:
        executor = submitit.AutoExecutor(folder, cluster='slurm', slurm_max_num_timeout=limits)
        executor.update_parameters(
            **{f'slurm_{name}': value for name, value in given.items()},
            name=run.folder.name,
            slurm_additional_parameters={'requeue': True, **after},
        )
        # Ctrl-C would end `sbatch` too, half-way.
        with blocked([signal.SIGINT]):
            return executor.submit(RunJob(run)).job_id
    except (FailedJobError, FailedSubmissionError, NameError, RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines() or ['submitit gives no reason']
        raise GridError(f'--slurm: {reason[0]}') from error


def _minutes(text: str) -> int:
    """A time limit as sbatch takes it, such as 90, 1:30:00 or 2-12, in minutes, rounded up."""
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
    """Why a run whose job has left the queue is not done; empty if it is."""
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
    """Whether Slurm is ending a job by itself, for good or to queue it again."""
    # A cancelled job would come back if it queued itself again.
    return _squeue(f'--jobs={job}', '--format=%T') in (['COMPLETING'], ['CANCELLED'])


def _queued() -> dict[str, str] | None:
    """Numbers of this user's jobs that wait or run, by name; None if Slurm does not answer."""
    lines = _squeue('--me', '--format=%j %i')
    return None if lines is None else dict(line.rpartition(' ')[::2] for line in lines)


def _squeue(*options: str) -> list[str] | None:
    """The lines that squeue prints; None if it fails, as it does where Slurm is busy."""
    try:
        # Ctrl-C is for the sweep alone.
        with blocked([signal.SIGINT]):
            done = subprocess.run(
                ['squeue', '--noheader', *options], capture_output=True, text=True, check=True
            )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()


def _sleep(stopping: Sequence) -> None:
    """Waits until Slurm should be asked again, or the user asks to stop."""
    deadline = time.monotonic() + _POLL_SECONDS
    while not stopping and time.monotonic() < deadline:
        time.sleep(0.1)
