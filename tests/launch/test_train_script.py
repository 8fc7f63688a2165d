"""What each task of launch/train.sbatch makes of the status of its process, without a Slurm."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('status', 'expected'), [(0, 0), (75, 75), (1, 100), (2, 100), (100, 100), (137, 137)]
)
def test_a_failure_outranks_a_stop(tmp_path, status, expected):
    """srun reports the highest status of its tasks, and 75 alone queues the job again."""
    text = (ROOT / 'launch' / 'train.sbatch').read_text()
    task = text[text.index("task='") + len("task='") :].partition("'")[0]
    (tmp_path / 'sleep').write_text('#!/bin/sh\n')
    (tmp_path / 'sleep').chmod(0o755)
    done = subprocess.run(
        ['bash', '-c', task, 'task', 'bash', '-c', f'exit {status}'],
        env=os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}'},
    )
    assert done.returncode == expected


@pytest.fixture
def job(tmp_path):
    """Runs the script of a job to its end; returns whether the job is queued again."""
    (tmp_path / 'bin').mkdir()
    for name in ('srun', 'scontrol'):
        (tmp_path / 'bin' / name).write_text(f'#!/bin/sh\n. {tmp_path}/{name}.sh\n')
        (tmp_path / 'bin' / name).chmod(0o755)
    (tmp_path / 'scontrol.sh').write_text(f'echo "$@" > {tmp_path}/asked\n')

    def run(status, seconds):
        (tmp_path / 'asked').unlink(missing_ok=True)
        (tmp_path / 'srun.sh').write_text(f'exit {status}\n')
        done = subprocess.run(
            ['bash', '-c', f'SECONDS={seconds}; source {ROOT}/launch/train.sbatch'],
            env=os.environ | {'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'SLURM_JOB_ID': '7'},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status
        assert ('not queued again' in done.stderr) == (
            status == 75 and not (tmp_path / 'asked').exists()
        )
        return (tmp_path / 'asked').exists()

    return run


def test_a_job_that_ends_at_once_again_and_again_is_given_up(job, tmp_path):
    assert [job(75, 0) for _ in range(4)] == [True, True, True, False]
    # Whoever submits it again begins to count anew.
    assert job(75, 0)


def test_a_job_that_is_often_taken_away_is_queued_each_time(job, tmp_path):
    ends = [0, 0, 0, 3600, 0, 0, 0, 86400, 150, 150, 150, 150, 150]
    assert all(job(75, seconds) for seconds in ends)
    assert not job(1, 0)
    assert not list(tmp_path.glob('*.quick'))


@pytest.mark.parametrize('cores', [None, '12'])
def test_the_tasks_get_the_cores_of_the_job(tmp_path, cores):
    (tmp_path / 'srun').write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/given\n')
    (tmp_path / 'srun').chmod(0o755)
    given = {} if cores is None else {'SLURM_CPUS_PER_TASK': cores}
    subprocess.run(
        ['bash', ROOT / 'launch' / 'train.sbatch', '--workdir=a b'],
        env=os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '7'} | given,
        cwd=tmp_path,
        check=True,
    )
    words = (tmp_path / 'given').read_text().splitlines()
    assert ('--cpus-per-task=12' in words) == (cores is not None)
    assert '' not in words
    assert words[-1] == '--workdir=a b'
