"""Ctrl-C and other signals while a sweep runs: the commands save, and the sweep ends with 75."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from contrastive_jax.runtime import preemption
from launch import sweep
from launch.children import Children, on_stop
from launch.local import execute, run_all
from launch.planning import Run

ROOT = Path(__file__).parents[2]

# Like a training: the first SIGTERM saves, which takes a while; a second one would kill it.
TRAINS = """
import pathlib, signal, time
folder = pathlib.Path({folder!r})
folder.mkdir(exist_ok=True)
def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(0.5)
    (folder / 'saved').touch()
    raise SystemExit({status})
signal.signal(signal.SIGTERM, save)
(folder / 'began').touch()
time.sleep(60)
"""
# Takes no notice of being asked.
DEAF = """
import pathlib, signal, time
folder = pathlib.Path({folder!r})
folder.mkdir(exist_ok=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(folder / 'began').touch()
time.sleep(60)
"""


def _run(folder, name, program=TRAINS, needs=None, status=preemption.STATUS):
    workdir = folder / name
    command = (sys.executable, '-c', program.format(folder=str(workdir), status=status))
    needed = folder / needs if needs else None
    return Run((name,), 0, workdir, (command,), (workdir / 'result.json',), needed)


def _wait_for(*paths):
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _launcher(runs, jobs, first='', stdout=subprocess.PIPE, stderr=subprocess.PIPE):
    """Starts `run_all` in a process group of its own; its last line says how each run ended."""
    program = (
        f'{first}\n'
        # Under nohup it would be ignored.
        'import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n'
        'import json; from pathlib import *\n'
        'from launch.planning import *; from launch.local import *\n'
        f'outcomes = run_all({runs!r}, {jobs})\n'
        'print(json.dumps([(o.run.cells[0], o.reason, o.stopped) for o in outcomes]))'
    )
    return subprocess.Popen(
        [sys.executable, '-c', program],
        cwd=ROOT,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_runs_save_and_starts_no_other(number, tmp_path):
    names = ('a', 'b', 'after a', 'waiting')
    needs = {'after a': 'a'}
    runs = [_run(tmp_path, name, needs=needs.get(name)) for name in names]
    launcher = _launcher(runs, 2)
    _wait_for(tmp_path / 'a/began', tmp_path / 'b/began')
    # To the whole group, as a terminal does at Ctrl-C.
    os.killpg(launcher.pid, number)
    out, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 0
    assert 'Traceback' not in errors
    assert 'stopping: the runs save and end' in errors
    ends = {name: (reason, stopped) for name, reason, stopped in json.loads(out.splitlines()[-1])}
    assert ends == {
        'a': ('was stopped', True),
        'b': ('was stopped', True),
        'after a': ('was not started', True),
        'waiting': ('was not started', True),
    }
    assert all((tmp_path / name / 'saved').exists() for name in 'ab')
    assert not (tmp_path / 'waiting').exists()
    # Off a terminal each run that has ended is a line.
    assert '1 of 4: ' in out


@pytest.mark.ci
def test_runs_save_although_nobody_reads_what_is_said(tmp_path):
    # As `tee` does not at Ctrl-C, or a terminal that is closed.
    launcher = _launcher([_run(tmp_path, 'a')], 1)
    _wait_for(tmp_path / 'a/began')
    launcher.stderr.close()
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(60) == 0
    assert json.loads(launcher.stdout.read().splitlines()[-1]) == [['a', 'was stopped', True]]
    launcher.stdout.close()
    assert (tmp_path / 'a' / 'saved').exists()


# Waits until it may end, and makes its file.
WAITS = """
import pathlib, time
folder = pathlib.Path({folder!r})
folder.mkdir(exist_ok=True)
(folder / 'began').touch()
while not (folder.parent / 'go').exists():
    time.sleep(0.02)
(folder / 'result.json').touch()
"""


def test_a_sweep_goes_on_when_its_terminal_is_gone(tmp_path):
    """Where a closed terminal sends no signal, as under nohup."""
    ours, theirs = pty.openpty()
    runs = [_run(tmp_path, name, WAITS) for name in 'ab']
    launcher = _launcher(runs, 1, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    _wait_for(tmp_path / 'a/began')
    os.close(ours)
    (tmp_path / 'go').touch()
    assert launcher.wait(60) == 0
    assert all(run.done() for run in runs)


def test_a_sweep_goes_on_when_the_reader_of_its_output_has_ended(tmp_path, monkeypatch):
    """As `tee` or `head` may; the exit status stays that of the runs."""
    runs = [_run(tmp_path, name, WAITS) for name in 'ab']
    (tmp_path / 'go').touch()
    monkeypatch.setattr(sweep, 'plan', lambda *_: runs)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'w') as unread:
        monkeypatch.setattr(sys, 'stdout', unread)
        assert sweep.main(['--config=configs/digits.py', f'--runs={tmp_path}']) == 0
    assert all(run.done() for run in runs)


def test_a_signal_while_runs_are_planned_is_one_line_and_75(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, 'plan', lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert sweep.main(['--config=configs/digits.py', f'--runs={tmp_path}']) == preemption.STATUS
    assert capsys.readouterr().err == 'error: stopped before any run began\n'


# As `contrastive-jax sweep` begins, whose handler would end the sweep and leave its runs alone.
_COMMAND = 'from contrastive_jax.runtime import preemption; preemption.exit_when_told_to_stop()'


@pytest.mark.parametrize('first', ['', _COMMAND])
def test_a_second_signal_kills_what_does_not_end(first, tmp_path):
    launcher = _launcher([_run(tmp_path, 'deaf', DEAF)], 1, first)
    _wait_for(tmp_path / 'deaf/began')
    launcher.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    out, errors = launcher.communicate(timeout=20)
    assert json.loads(out.splitlines()[-1]) == [['deaf', 'was stopped', True]]
    assert 'stopping: the runs are killed' in errors


@pytest.mark.parametrize('first', [signal.SIGHUP, signal.SIGTERM])
def test_a_hangup_after_a_signal_kills_nothing(first, tmp_path):
    """A closed terminal and its shell may both send it."""
    launcher = _launcher([_run(tmp_path, 'a')], 1)
    _wait_for(tmp_path / 'a/began')
    for number in (first, signal.SIGHUP):
        launcher.send_signal(number)
        time.sleep(0.2)
    out, errors = launcher.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1]) == [['a', 'was stopped', True]]
    assert (tmp_path / 'a' / 'saved').exists()
    assert errors.count('stopping: ') == 1


def test_a_failure_while_stopping_is_a_failure(tmp_path):
    run, children = _run(tmp_path, 'a', status=3), Children()
    threading.Thread(target=lambda: (_wait_for(tmp_path / 'a/began'), children.ask())).start()
    outcome = execute(run, children)
    assert (outcome.reason, outcome.stopped) == ('exit status 3', False)


def test_a_run_that_someone_else_stopped_goes_on_with_the_same_command(tmp_path):
    program = f'raise SystemExit({preemption.STATUS})'
    (outcome,) = run_all([_run(tmp_path, 'a', program)], 1)
    assert outcome.stopped


def test_asking_twice_signals_once(tmp_path):
    run, children = _run(tmp_path, 'a'), Children()

    def ask_twice():
        _wait_for(tmp_path / 'a/began')
        children.ask()
        time.sleep(0.1)
        children.ask()

    threading.Thread(target=ask_twice).start()
    assert execute(run, children).stopped
    assert (tmp_path / 'a/saved').exists()


def test_a_command_that_starts_while_all_are_asked_is_asked_too(tmp_path):
    children = Children()
    children.stopping = True
    sleeps = (sys.executable, '-c', 'import time; time.sleep(60)')
    assert children.run(sleeps) == -signal.SIGTERM


def test_commands_do_not_see_the_signal_of_the_time_limit(tmp_path):
    """Slurm sends it to every process of a job."""
    program = 'import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print("lives")'
    assert Children().run((sys.executable, '-c', program)) == 0
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ignored_signals_stay_ignored():
    """As under nohup."""
    calls = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_stop(lambda _: calls.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert calls == [1]


def test_the_batch_script_queues_a_stopped_run_again():
    script = (ROOT / 'launch/train.sbatch').read_text()
    assert f'-eq {preemption.STATUS} ]]; then scontrol requeue' in script
