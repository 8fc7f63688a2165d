"""Runs of a grid as jobs of Slurm, by submitit."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import submitit
from submitit.helpers import DelayedSubmission
from tqdm import tqdm

from launch.local import Outcome, execute
from launch.plan import Run

__all__ = ['RunJob', 'run_all']

_POLL_SECONDS = 5


class RunJob:
    """A run as submitit calls it: again after a time limit or a preemption, when it resumes."""

    def __init__(self, run: Run):
        """Keeps the run."""
        self.run = run

    def __call__(self) -> str:
        """Executes it; returns why it failed, or nothing."""
        return execute(self.run).reason

    def checkpoint(self) -> DelayedSubmission:
        """What to submit when the job is taken away: the same, for it goes on by itself."""
        return DelayedSubmission(self)


def run_all(runs: Sequence[Run], folder: Path, options: Mapping[str, object]) -> list[Outcome]:
    """Submits what is neither done nor in the queue, waits for it, and says what became of it.

    Args:
      runs: those that others need before them.
      folder: receives submitit's own files.
      options: of submitit, such as `slurm_partition`.
    """
    queued = _queued()
    outcomes, jobs = [], {}
    for run in runs:
        if run.done():
            outcomes.append(Outcome(run, ''))
        elif run.folder.name in queued:
            outcomes.append(Outcome(run, 'is in the queue already'))
        else:
            jobs[run.folder] = _submit(run, jobs.get(run.needs), folder, options)
    ours = [run for run in runs if run.folder in jobs]
    with tqdm(total=len(ours), unit='run', disable=None) as progress:
        while ours:
            # Not what submitit says: for it, a job that was taken away and runs again has ended.
            queued = _queued()
            ended = [run for run in ours if run.folder.name not in queued]
            outcomes += [Outcome(run, _reason(run, jobs[run.folder])) for run in ended]
            ours = [run for run in ours if run not in ended]
            progress.update(len(ended))
            time.sleep(_POLL_SECONDS if ours else 0)
    return outcomes


def _submit(run: Run, before, folder: Path, options: Mapping[str, object]):
    executor = submitit.AutoExecutor(folder=folder / 'slurm', cluster='slurm')
    after = {} if before is None else {'dependency': f'afterany:{before.job_id}'}
    executor.update_parameters(
        **{'slurm_time': 24 * 60, **options},
        name=run.folder.name,
        slurm_additional_parameters={'requeue': True, **after},
    )
    return executor.submit(RunJob(run))


def _reason(run: Run, job) -> str:
    if run.done():
        return ''
    if not job.paths.result_pickle.exists():
        return f'Slurm ended job {job.job_id}; see {job.paths.stderr}'
    try:
        return job.result()
    except submitit.core.utils.FailedJobError as error:
        return str(error).splitlines()[0]


def _queued() -> set[str]:
    """Names of this user's jobs that wait or run; the names of runs are those of their folders."""
    listed = subprocess.run(
        ['squeue', '--me', '--noheader', '--format=%j'], capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())
