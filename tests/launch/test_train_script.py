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


@pytest.mark.parametrize(
    ('status', 'restarts', 'seconds', 'again'),
    [
        (75, None, 0, True),
        (75, 2, 0, True),
        (75, 3, 0, False),
        (75, 9, 900, True),
        (1, 0, 0, False),
    ],
)
def test_a_job_that_ends_at_once_is_not_queued_for_ever(tmp_path, status, restarts, seconds, again):
    for name, text in (
        ('srun', f'exit {status}'),
        ('scontrol', f'echo "$@" > {tmp_path}/asked'),
    ):
        (tmp_path / name).write_text(f'#!/bin/sh\n{text}\n')
        (tmp_path / name).chmod(0o755)
    count = {} if restarts is None else {'SLURM_RESTART_COUNT': str(restarts)}
    done = subprocess.run(
        ['bash', '-c', f'SECONDS={seconds}; source {ROOT}/launch/train.sbatch'],
        env=os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '7'} | count,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert (tmp_path / 'asked').exists() == again
    assert ('not again' in done.stderr) == (status == 75 and not again)


@pytest.mark.parametrize('cores', [None, '12'])
def test_the_tasks_get_the_cores_of_the_job(tmp_path, cores):
    (tmp_path / 'srun').write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/given\n')
    (tmp_path / 'srun').chmod(0o755)
    given = {} if cores is None else {'SLURM_CPUS_PER_TASK': cores}
    subprocess.run(
        ['bash', ROOT / 'launch' / 'train.sbatch', '--workdir=a b'],
        env=os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}'} | given,
        check=True,
    )
    words = (tmp_path / 'given').read_text().splitlines()
    assert ('--cpus-per-task=12' in words) == (cores is not None)
    assert '' not in words
    assert words[-1] == '--workdir=a b'
