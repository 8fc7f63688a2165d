"""Runs as a user starts them, each in a process of its own, or in several."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from contrastive_jax.runs.checkpoints import Checkpoints
from tests.helpers import small_config, state_and_step, write_config

ROOT = Path(__file__).parents[1]
# Of what a run leaves, these hold times.
_TIMES = {'pairs_per_second', 'seconds'}


def start(workdir, changes, *, processes=1, devices=1, differ=None, dying=(), lost=0, folders=None):
    """Starts one run; returns its processes, whose output goes beside the workdir.

    Args:
      workdir: of the run.
      changes: of `small_config`.
      processes: how many; each is the first of a group of its own.
      devices: of each process.
      differ: further changes for processes other than the first.
      dying: what a process is to die of, the arguments of `tests.faults.dying`.
      lost: the process that is to die.
      folders: in which each process runs; None for this one.
    """
    environ = os.environ | {
        # The last of two equal flags counts.
        'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={devices}',
        'PYTHONPATH': str(ROOT),
    }
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    started = []
    for process in range(processes):
        place = [f'--coordinator_address=localhost:{port}', f'--num_processes={processes}']
        place.append(f'--process_id={process}')
        own = changes | (differ or {} if process else {})
        config = write_config(workdir.with_suffix(f'.{process}.py'), **own)
        dies = dying and process == lost
        own_environ = environ | _cache_of_dying(dying[0]) if dies else environ
        module = ['tests.faults.dying', *dying] if dies else ['contrastive_jax.main']
        command = [sys.executable, '-m', *module, f'--workdir={workdir}', f'--config={config}']
        with log_of(workdir, process).open('a') as log:
            started.append(
                subprocess.Popen(
                    [*command, *(place if processes > 1 else [])],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=own_environ,
                    cwd=folders[process] if folders else ROOT,
                    start_new_session=True,
                )
            )
    return started


def _cache_of_dying(place):
    """What keeps a process that dies at `place` from writing half a program to the cache."""
    if place == 'compile':
        # A program of the cache would not be compiled.
        return {'JAX_ENABLE_COMPILATION_CACHE': '0'}
    # It reads the cache. Only programs that take more seconds to compile would be written.
    return {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '1e9'}


def log_of(workdir, process=0):
    """What a process of the run has written, this time and before."""
    return workdir.with_suffix(f'.{process}.log')


def finish(workdir, changes, **how):
    """Runs to the end."""
    for process, running in enumerate(start(workdir, changes, **how)):
        assert running.wait(300) == 0, log_of(workdir, process).read_text()


def parameters(workdir, changes, channels=1):
    """Steps, parameters and statistics of the newest checkpoint, the latter as one vector."""
    initial, _ = state_and_step(small_config(**changes), channels=channels, mapped=False)
    checkpoints = Checkpoints(workdir, read_only=True)
    state = checkpoints.restore(jax.device_put(initial, jax.devices()[0]))
    checkpoints.close()
    leaves = jax.tree.leaves((state.params, state.stats))
    return int(state.step), np.concatenate([np.ravel(leaf) for leaf in leaves])


def metrics(workdir):
    """The lines of the log, without times."""
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    return [_timeless(json.loads(line)) for line in lines]


def result(workdir):
    """The result, without times."""
    return _timeless(json.loads((workdir / 'result.json').read_text()))


def _timeless(content):
    return {name: value for name, value in content.items() if name not in _TIMES}


def command(name, *arguments, **options):
    """Runs a command to its end.

    Args:
      name: of its module in `contrastive_jax`.
      *arguments: of the command line.
      **options: of `subprocess.run`.
    """
    return subprocess.run(
        [sys.executable, '-m', f'contrastive_jax.{name}', *arguments],
        **{'cwd': ROOT, 'capture_output': True, 'text': True} | options,
    )
