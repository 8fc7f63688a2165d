"""What a job of Slurm does when it is signalled, without a Slurm."""

import fcntl
import os
import signal
import sys
import threading
import time

import pytest

from contrastive_jax.runtime import preemption
from launch.cells import GridError
from launch.local import BUSY
from launch.planning import Run, file_beside

slurm = pytest.importorskip('launch.slurm')

# Like a training: at SIGTERM it saves a checkpoint, or what it is given to do, and ends.
PROGRAM = """
import pathlib, signal, time
folder = pathlib.Path({folder!r})
(folder / 'checkpoints').mkdir(parents=True, exist_ok=True)
def save(*_):
    time.sleep(0.3)
    {saves}
    raise SystemExit({status})
signal.signal(signal.SIGTERM, save)
(folder / 'began').touch()
time.sleep(60)
"""
SAVES = "(folder / 'checkpoints' / str(time.time_ns())).mkdir()"


class QueuedAgain(Exception):
    """Stands for the end of the process in submitit's handler."""


@pytest.fixture
def queued_again():
    """Puts a handler where submitit has its own; the times at which it was called."""
    calls = []

    def handler(*_):
        calls.append(time.monotonic())
        raise QueuedAgain

    before = signal.signal(signal.SIGUSR2, handler)
    yield calls
    signal.signal(signal.SIGUSR2, before)


def _job(folder, saves=SAVES):
    workdir = folder / 'run'
    program = PROGRAM.format(folder=str(workdir), saves=saves, status=preemption.STATUS)
    command = (sys.executable, '-c', program)
    return slurm.RunJob(Run(('a',), 0, workdir, (command,), (workdir / 'result.json',), None))


def _time_limit(job):
    """Calls the job, and signals this process as Slurm does once the command runs."""
    began = job.run.folder / 'began'
    began.unlink(missing_ok=True)

    def signal_when_begun():
        while not began.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    threading.Thread(target=signal_when_begun).start()
    return job()


def test_a_job_is_queued_again_when_the_command_has_saved(queued_again, tmp_path):
    job = _job(tmp_path)
    with pytest.raises(QueuedAgain):
        _time_limit(job)
    (saved,) = (tmp_path / 'run/checkpoints').iterdir()
    assert saved.is_dir()
    assert len(queued_again) == 1
    # What is submitted is the same job.
    assert job.checkpoint().function is job


def test_time_limits_are_not_counted_while_jobs_get_on(queued_again, tmp_path):
    job = _job(tmp_path)
    for _ in range(slurm._JOBS_WITHOUT_PROGRESS + 1):
        with pytest.raises(QueuedAgain):
            _time_limit(job)


def test_jobs_that_never_get_on_end(queued_again, tmp_path):
    job = _job(tmp_path, saves='pass')
    for _ in range(slurm._JOBS_WITHOUT_PROGRESS - 1):
        with pytest.raises(QueuedAgain):
            _time_limit(job)
    assert 'stopped before they had saved anything new; give them more time' in _time_limit(job)


def test_a_command_that_ends_in_time_is_done(queued_again, tmp_path):
    job = _job(tmp_path, saves="(folder / 'result.json').touch(); raise SystemExit(0)")
    assert _time_limit(job) == ''
    assert queued_again == []


@pytest.mark.parametrize(
    ('text', 'minutes'),
    [
        ('90', 90),
        ('90:30', 91),
        ('10:00:00', 600),
        ('24:00:01', 1441),
        ('1-12', 2160),
        ('1-00:30', 1470),
        ('2-01:02:00', 2942),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(text, minutes):
    assert slurm._minutes(text) == minutes


@pytest.mark.parametrize('text', ['', 'UNLIMITED', '1h', '1-2-3', '1:2:3:4'])
def test_no_other_time_limit_is_taken(text):
    with pytest.raises(GridError, match=f'time={text}: must be minutes'):
        slurm._minutes(text)


def test_a_run_of_another_process_is_not_queued_again(queued_again, tmp_path):
    job = _job(tmp_path)
    with file_beside(job.run.folder, '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert job() == BUSY
    assert not queued_again
    assert job.without_progress == 0
