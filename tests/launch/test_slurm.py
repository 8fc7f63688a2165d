"""What Slurm starts, on a real Slurm of one node."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from contrastive_jax.runtime import preemption
from tests.helpers import npz_changes, write_config
from tests.launch.slurm_cluster import PROGRAMS, cluster
from tests.marks import in_ci

ROOT = Path(__file__).parents[2]
_FLAGS = '--xla_backend_optimization_level=0'
_MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(
        bool(_MISSING), reason=f'no {", ".join(_MISSING)} here: apt-get install slurm-wlm munge'
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason='only root may start a Slurm'),
]


@pytest.fixture(scope='module')
def environ():
    with cluster() as environ:
        # Not what the tests themselves run with: jobs see one device a process.
        yield environ | {'XLA_FLAGS': _FLAGS, 'PYTHON': sys.executable}


@pytest.fixture
def config(tmp_path):
    changes = npz_changes(tmp_path) | {'epochs': 4, 'checkpoint_every': 3}
    return write_config(tmp_path / 'config.py', **changes)


@pytest.fixture
def digits(tmp_path):
    """A config of 21 steps an epoch that saves only when it is told to stop."""
    changes = {'batch_size': 64, 'epochs': 100, 'checkpoint_every': 1_000_000}
    return write_config(tmp_path / 'digits.py', data__name='digits', **changes)


def _steps(workdir):
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    return [json.loads(line)['step'] for line in lines]


def _queue(environ, form):
    listed = subprocess.run(
        ['squeue', '--noheader', f'--format={form}'], env=environ, capture_output=True, text=True
    )
    return listed.stdout.split()


def _submit(environ, *arguments):
    """Submits a job; returns its number."""
    submitted = subprocess.run(
        ['sbatch', '--parsable', *arguments],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return submitted.stdout.strip()


def _sweep(start, environ, config, runs, slurm, *extra, **options):
    """Starts a sweep of two cells with one seed, by `subprocess.run` or `subprocess.Popen`."""
    return start(
        [
            *(sys.executable, '-m', 'launch.sweep', '--grid=table1', f'--config={config}'),
            *('--seeds=1', f'--runs={runs}', f'--slurm={slurm}', *extra),
        ],
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def _wait_for(job, environ, seconds):
    """Waits until a job has left the queue; it must have succeeded."""
    # `sbatch --wait` looks ever more seldom, at last every quarter of a minute.
    deadline = time.monotonic() + seconds
    while job in _queue(environ, '%i'):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    shown = subprocess.run(
        ['scontrol', 'show', 'job', job], env=environ, capture_output=True, text=True
    )
    assert 'JobState=COMPLETED' in shown.stdout, shown.stdout + shown.stderr


def test_the_batch_script_starts_every_process(environ, tmp_path):
    """With a Python that tells what it was asked, so that nothing has to be trained."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$SLURM_PROCID of $SLURM_STEP_NUM_TASKS: $*"\n')
    python.chmod(0o755)
    options = ['--ntasks=2', f'--output={tmp_path / "job.log"}', 'launch/train.sbatch']
    job = _submit(environ | {'PYTHON': str(python)}, *options, '--config=a config', '--workdir=w')
    _wait_for(job, environ, 100)
    assert sorted((tmp_path / 'job.log').read_text().splitlines()) == [
        f'{n}: {n} of 2: -u -m contrastive_jax.main --config=a config --workdir=w' for n in (0, 1)
    ]


@pytest.mark.slow
def test_the_batch_script_trains_in_two_processes(environ, config, tmp_path):
    workdir = tmp_path / 'run'
    options = ['--ntasks=2', f'--output={tmp_path / "job.log"}']
    flags = [f'--config={config}', f'--workdir={workdir}']
    _wait_for(_submit(environ, *options, 'launch/train.sbatch', *flags), environ, 300)
    log = (tmp_path / 'job.log').read_text()
    # Gloo tells how many processes it has found.
    assert 'Rank 1 is connected to 1 peer ranks' in log
    assert sum('results in' in line for line in log.splitlines()) == 1
    assert _steps(workdir) == list(range(1, 9))
    assert (workdir / 'result.json').exists()


@pytest.mark.slow
def test_the_batch_script_goes_on_after_it_was_told_to_stop(environ, config, tmp_path):
    workdir = tmp_path / 'run'
    flags = [f'--config={config}', f'--workdir={workdir}', '--config.epochs=300']
    options = ['--ntasks=2', f'--output={tmp_path / "job.log"}']
    flags.append('--config.checkpoint_every=100000')
    job = _submit(environ, *options, 'launch/train.sbatch', *flags)
    deadline = time.monotonic() + 200
    while not (workdir / 'metrics.jsonl').exists() or not _steps(workdir):
        assert time.monotonic() < deadline, (tmp_path / 'job.log').read_text()
        time.sleep(0.1)
    # To the processes, as the time limit does.
    subprocess.run(['scancel', '--signal=TERM', job], env=environ, check=True)
    while not (workdir / 'result.json').exists():
        assert time.monotonic() < deadline + 200, (tmp_path / 'job.log').read_text()
        time.sleep(0.5)
    log = (tmp_path / 'job.log').read_text()
    assert 'told to stop; saved at step' in log
    assert 'goes on after step' in log
    assert _steps(workdir) == list(range(1, 601))


@pytest.mark.slow
def test_the_batch_script_goes_on_over_time_limits(environ, digits, tmp_path):
    workdir, log = tmp_path / 'run', tmp_path / 'job.log'
    flags = [f'--config={digits}', f'--workdir={workdir}', '--config.epochs=40']
    options = ['--ntasks=2', '--time=1', '--signal=TERM@15', f'--output={log}']
    job = _submit(environ, *options, 'launch/train.sbatch', *flags)
    deadline = time.monotonic() + 900
    while not (workdir / 'result.json').exists():
        assert time.monotonic() < deadline, log.read_text()
        assert job in _queue(environ, '%i'), log.read_text()
        time.sleep(0.5)
    assert 'goes on after step' in log.read_text()
    assert _steps(workdir) == list(range(1, 40 * 21 + 1))


@pytest.mark.slow
def test_a_grid_goes_on_over_time_limits(environ, digits, tmp_path):
    """Of its minute each job has a third to save in, and Slurm looks every half a minute."""
    runs = tmp_path / 'runs'
    streams = {'stderr': subprocess.PIPE, 'timeout': 1500}
    options = 'time=1,cpus_per_task=1', '--', '--config.epochs=250'
    done = _sweep(subprocess.run, environ, digits, runs, *options, **streams)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '2 of 2 runs are done' in done.stdout
    for workdir in (path.parent for path in runs.glob('*/result.json')):
        assert _steps(workdir) == list(range(1, 250 * 21 + 1))
        log = workdir.with_suffix('.log').read_text()
        assert log.count('told to stop; saved at step') >= 2
        assert log.count('goes on after step') >= 2


@pytest.mark.slow
def test_a_cancelled_job_does_not_come_back(environ, digits, tmp_path):
    runs = tmp_path / 'runs'
    start = partial(
        _sweep,
        *(subprocess.Popen, environ, digits, runs, 'cpus_per_task=1'),
        *('--', '--config.epochs=100000'),
        stderr=subprocess.STDOUT,
    )
    sweep = start()
    deadline = time.monotonic() + 200
    while len(list(runs.glob('*/metrics.jsonl'))) < 2:
        assert time.monotonic() < deadline
        assert sweep.poll() is None, sweep.communicate()[0]
        time.sleep(0.1)
    # Ctrl-C ends the waiting alone.
    sweep.send_signal(signal.SIGINT)
    out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == preemption.STATUS, out
    jobs = sorted(_queue(environ, '%i'))
    assert '2 jobs go on in the queue; the same command waits for them again' in out
    assert sorted(out.partition('scancel ')[2].splitlines()[0].split()) == jobs
    # The same command waits for them again, and says what became of them.
    sweep = start()
    waits, numbers = next(sweep.stdout).split(': ')
    assert (waits, sorted(numbers.split())) == ('waits for 2 jobs of Slurm', jobs)
    subprocess.run(['scancel', *jobs], env=environ, check=True)
    out, _ = sweep.communicate(timeout=100)
    assert sweep.returncode == 1, out
    assert '0 of 2 runs are done' in out
    assert _queue(environ, '%i') == []
    # They have saved nevertheless.
    assert len(list(runs.glob('*/checkpoints/*'))) == 2


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ('partition=none', 'invalid partition specified: none'),
        *in_ci(
            ('colour=red', "Unknown argument 'colour'"),
            ('time=soon', 'time=soon: must be minutes'),
            ('max_num_timeout=few', 'max_num_timeout=few: must be a whole number'),
        ),
    ],
)
def test_a_wrong_option_ends_the_sweep_with_one_line(environ, digits, options, says, tmp_path):
    streams = {'stderr': subprocess.PIPE, 'timeout': 100}
    done = _sweep(subprocess.run, environ, digits, tmp_path / 'runs', options, **streams)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: --slurm')
    assert says in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_a_grid_survives_that_a_job_is_taken_away(environ, config, tmp_path):
    runs = tmp_path / 'runs'
    sweep = _sweep(
        *(subprocess.Popen, environ, config, runs, 'partition=all,cpus_per_task=1'),
        *('--', '--config.epochs=200', '--config.checkpoint_every=20'),
        stderr=subprocess.STDOUT,
    )
    taken = None
    deadline = time.monotonic() + 200
    while taken is None:
        assert time.monotonic() < deadline
        assert sweep.poll() is None, sweep.communicate()[0]
        saved = [p for p in runs.glob('*/checkpoints/*') if p.name.isdigit()]
        taken = saved[0].parents[1] if saved else None
        time.sleep(0.1)
    names = dict(text.split(':') for text in _queue(environ, '%j:%i'))
    subprocess.run(['scontrol', 'requeue', names[taken.name]], env=environ, check=True)
    out, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out
    assert '2 of 2 runs are done' in out
    for workdir in runs.glob('*/result.json'):
        assert _steps(workdir.parent) == list(range(1, 401))
    # It was begun twice: JAX has warned, or Slurm has counted.
    history = subprocess.run(
        ['scontrol', 'show', 'job', names[taken.name]], env=environ, capture_output=True, text=True
    )
    assert 'Restarts=1' in history.stdout
