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
