"""Told to stop, out of room, not allowed to write, or already running: nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from contrastive_jax import main
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import preemption
from tests.helpers import npz_changes, small_config, streamed_config
from tests.processes import ROOT, finish, log_of, metrics, parameters, result, start

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


def _changes(folder, **changes):
    return npz_changes(folder) | {'checkpoint_every': 10_000} | changes


def _wait_for(log, steps, started):
    """Until a run has written some steps."""
    deadline = time.monotonic() + 200
    while not log.exists() or log.read_bytes().count(b'\n') < steps:
        assert time.monotonic() < deadline
        assert all(running.poll() is None for running in started)
        time.sleep(0.05)


SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOPS = (*SIGNALS, signal.SIGHUP)


@pytest.mark.ci
@pytest.mark.parametrize(
    ('processes', 'number'),
    [
        (1, signal.SIGINT),
        pytest.param(1, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_run_told_to_stop_saves_and_goes_on(processes, number, tmp_path):
    # Long enough not to end by itself: the first checkpoint would come after the last step.
    long = _changes(tmp_path, epochs=100_000)
    broken = tmp_path / 'broken'
    started = start(broken, long, processes=processes)
    _wait_for(broken / 'metrics.jsonl', 3, started)
    started[-1].send_signal(number)
    assert [running.wait(200) for running in started] == [preemption.STATUS] * processes
    told = log_of(broken).read_text()
    assert 'told to stop; saved at step' in told
    assert 'Traceback' not in told
    (saved,) = (int(path.name) for path in (broken / 'checkpoints').iterdir())
    assert [line['step'] for line in metrics(broken)] == list(range(1, saved + 1))

    # The run that nobody stopped, as far: the config may not differ, so neither may be finished.
    unbroken = tmp_path / 'unbroken'
    again = start(unbroken, long, processes=processes)
    _wait_for(unbroken / 'metrics.jsonl', saved, again)
    again[0].send_signal(signal.SIGTERM)
    assert again[0].wait(200) == preemption.STATUS
    [running.wait(200) for running in again]
    assert metrics(unbroken)[:saved] == metrics(broken)

    # And the first goes on from where it was.
    resumed = start(broken, long, processes=processes)
    _wait_for(broken / 'metrics.jsonl', saved + 3, resumed)
    for running in resumed:
        running.kill()
        running.wait()
    both = min(len(metrics(broken)), len(metrics(unbroken)))
    assert metrics(broken)[:both] == metrics(unbroken)[:both]


@pytest.fixture
def handlers():
    """Puts the handlers of this process back."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield {number: before[number] for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def hangup_counts(handlers):
    """This process, and those that it starts, do not ignore SIGHUP, as under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.usefixtures('hangup_counts')
@pytest.mark.parametrize('number', STOPS)
def test_a_second_signal_ends_it_at_once(number):
    def stopped():
        with preemption.noting() as told:
            assert not told(1)
            os.kill(os.getpid(), number)
            assert told(2)
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    with pytest.raises(preemption.Preempted):
        stopped()


@pytest.mark.usefixtures('hangup_counts')
def test_a_second_hangup_does_not():
    """A terminal that closes and its shell both send one."""
    program = (
        'import os, signal, time\n'
        'from contrastive_jax.runtime import preemption\n'
        'preemption.exit_when_told_to_stop()\n'
        'with preemption.noting() as told:\n'
        '    told(1)\n'
        '    for _ in range(3): os.kill(os.getpid(), signal.SIGHUP)\n'
        '    time.sleep(1)\n'
        "    print('saved', told(2))\n"
    )
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 'saved True\n'
    assert 'Preempted' in done.stderr


def test_without_a_signal_the_handlers_come_back(handlers):
    with preemption.noting() as told:
        # Before the first step is finished there is nothing to save.
        assert {number: signal.getsignal(number) for number in SIGNALS} == handlers
        assert not told(1)
        assert signal.getsignal(signal.SIGINT) != handlers[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers


def test_ctrl_c_that_nohup_ignores_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with preemption.noting() as told:
        assert not told(1)
        os.kill(os.getpid(), signal.SIGINT)
        assert not told(2)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.fixture
def agreed(monkeypatch):
    """Makes this one of two processes, which agree to stop at step 3; the steps asked about."""
    asked = []

    def reached(step):
        asked.append(step)
        return step == 3

    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(multihost_utils, 'reached_preemption_sync_point', reached)
    return asked


def test_one_of_several_processes_stops_at_the_step_that_all_agree_on(handlers, agreed):
    def stopped():
        with preemption.noting() as told:
            assert not told(1)
            assert not told(2)
            # JAX takes the signals: with a handler of its own this one would stop alone.
            assert {number: signal.getsignal(number) for number in SIGNALS} == handlers
            assert told(3)
            # From here on a second signal ends it at once.
            assert all(signal.getsignal(number) == signal.SIG_DFL for number in SIGNALS)
            # It does not forget.
            assert told(4)

    with pytest.raises(preemption.Preempted):
        stopped()
    assert agreed == [1, 2, 3, 4]


@pytest.mark.usefixtures('hangup_counts')
def test_a_late_hangup_of_one_of_several_processes_does_not_end_it(agreed):
    """Passed on as a SIGTERM, it would be the second."""
    preemption.pass_interrupt_on()
    with pytest.raises(preemption.Preempted), preemption.noting() as told:  # noqa: PT012
        assert told(3)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert told(4)


def test_one_of_several_processes_that_nobody_told_to_stop_listens_after_its_last_step(
    handlers, agreed, monkeypatch
):
    listening = []
    monkeypatch.setattr(preemption, 'exit_when_told_to_stop', lambda: listening.append(True))
    with preemption.noting() as told:
        assert not told(1)
        assert not listening
    # JAX would still take the signals, and nobody asks it any more.
    assert listening == [True]


def _ended_by(number, *command):
    """Status and output of a process that gets a signal as soon as it catches SIGTERM."""
    started = subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    with started:
        status = Path(f'/proc/{started.pid}/status')
        caught = 0
        while not caught >> (signal.SIGTERM - 1) & 1:
            assert started.poll() is None
            (line,) = (line for line in status.read_text().splitlines() if 'SigCgt' in line)
            caught = int(line.partition(':')[2], 16)
        started.send_signal(number)
        return started.wait(60), started.stderr.read()


@pytest.mark.usefixtures('hangup_counts')
@pytest.mark.parametrize('number', STOPS)
@pytest.mark.parametrize('module', ['main', 'score', 'report'])
def test_a_command_ends_with_one_line_while_it_imports(module, number):
    status, text = _ended_by(number, '-m', f'contrastive_jax.{module}')
    assert status == preemption.STATUS
    assert text == (
        f'error: told to stop ({number.name}); the same command goes on or starts again\n'
    )


def test_a_process_ends_at_once_while_its_main_thread_computes():
    """As it does for minutes while XLA compiles; here in OpenSSL."""
    program = (
        'import hashlib\n'
        'from contrastive_jax.runtime.preemption import exit_when_told_to_stop\n'
        'exit_when_told_to_stop()\n'
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n"
    )
    status, text = _ended_by(signal.SIGINT, '-c', program)
    assert status == preemption.STATUS
    assert 'told to stop (SIGINT)' in text


def _unread(program):
    """The status of a program whose standard error nobody reads, as behind a `tee` that ended."""
    closes = 'import os\nreader, writer = os.pipe()\nos.close(reader)\nos.dup2(writer, 2)\n'
    return subprocess.run([sys.executable, '-c', closes + program], cwd=ROOT, timeout=60).returncode


@pytest.mark.ci
def test_a_process_ends_although_nobody_reads_what_it_says():
    program = (
        'import signal, time\n'
        'from contrastive_jax.runtime.preemption import exit_when_told_to_stop\n'
        'exit_when_told_to_stop()\n'
        'os.kill(os.getpid(), signal.SIGINT)\n'
        'time.sleep(30)\n'
    )
    assert _unread(program) == preemption.STATUS


@pytest.mark.ci
def test_the_status_of_a_run_that_has_saved_needs_no_reader():
    program = (
        'from contrastive_jax.runtime import cli, preemption, progress\n'
        'def command():\n'
        "    progress.say('a phase')\n"
        "    for _ in progress.track([1], 'a loop'): pass\n"
        "    raise preemption.Preempted('saved')\n"
        'cli._guarded(command)\n'
    )
    assert _unread(program) == preemption.STATUS


@pytest.mark.ci
def test_a_process_that_has_lost_the_others_needs_no_reader():
    program = (
        "from contrastive_jax.runtime import distributed\ndistributed._leave('cannot go on', 75)\n"
    )
    assert _unread(program) == preemption.STATUS


@pytest.mark.slow
@pytest.mark.parametrize('number', SIGNALS)
def test_data_workers_leave_signals_to_the_run(number, tmp_path):
    """Ctrl-C on a terminal, and Slurm, tell every process of a group."""
    changes = streamed_config(tmp_path / 'images')
    changes |= {'epochs': 100_000, 'checkpoint_every': 100_000}
    workdir = tmp_path / 'run'
    (running,) = start(workdir, changes)
    _wait_for(workdir / 'metrics.jsonl', 3, [running])
    os.killpg(running.pid, number)
    assert running.wait(100) == preemption.STATUS
    *_, last = log_of(workdir).read_text().splitlines()
    assert 'told to stop; saved at step' in last
    assert 'Traceback' not in log_of(workdir).read_text()


@pytest.mark.parametrize('number', SIGNALS)
def test_a_run_with_nothing_to_save_ends_with_the_same_status(number, tmp_path):
    # While it imports what it needs and reads its data, or compiles.
    started = start(tmp_path / 'run', _changes(tmp_path), dying=('slow_data', '1'))
    log = log_of(tmp_path / 'run')
    while 'reading' not in log.read_text():
        assert started[0].poll() is None, log.read_text()
        time.sleep(0.05)
    started[0].send_signal(number)
    assert started[0].wait(60) == preemption.STATUS
    assert 'error: told to stop' in log.read_text()
    assert 'Traceback' not in log.read_text()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own."""
    where = tmp_path / 'disk'
    where.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=2M', 'tmpfs', str(where)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('needs to mount a file system: root')
    yield where
    subprocess.run(['umount', '-l', str(where)], check=True)


def _remount(where, options):
    subprocess.run(['mount', '-o', f'remount,{options}', str(where)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize('room', ['16k', '1200k', '1400k'])
def test_a_full_disk_stops_the_run_and_room_resumes_it(room, small_disk, tmp_path):
    changes = _changes(tmp_path, epochs=60, checkpoint_every=10)
    _remount(small_disk, f'size={room}')
    workdir = small_disk
    (started,) = start(workdir, changes)
    status = started.wait(200)
    text = log_of(workdir).read_text()
    assert status == 1, text
    assert text.count('error: ') == 1, text
    assert 'make room' in text, text
    assert 'Traceback' not in text, text
    assert not (workdir / 'result.json').exists()

    _remount(small_disk, 'size=50M')
    finish(workdir, changes)
    finish(tmp_path / 'unbroken', changes)
    assert result(workdir) == result(tmp_path / 'unbroken')
    assert metrics(workdir) == metrics(tmp_path / 'unbroken')
    for mine, other in zip(
        parameters(workdir, changes), parameters(tmp_path / 'unbroken', changes), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


def test_a_read_only_workdir_is_refused_before_training(small_disk, tmp_path):
    _remount(small_disk, 'ro')
    for workdir in (small_disk, small_disk / 'run'):
        with pytest.raises(UserError, match=r'--workdir=.*cannot be written \(Read-only'):
            main.run(small_config(**_changes(tmp_path)), workdir)


@pytest.mark.ci
def test_a_second_run_names_the_first(tmp_path):
    changes = _changes(tmp_path, epochs=100_000)
    workdir = tmp_path / 'run'
    (first,) = start(workdir, changes)
    try:
        _wait_for(workdir / 'metrics.jsonl', 1, [first])
        holder = rf'process {first.pid} on {socket.gethostname()} is training here'
        with pytest.raises(UserError, match=holder):
            main.run(small_config(**changes), workdir)
    finally:
        first.kill()
        first.wait()
    # The lock of a dead process is nobody's, whatever it says.
    assert str(first.pid) in (workdir / 'lock').read_text()
    (second,) = start(workdir, changes)
    try:
        _wait_for(workdir / 'metrics.jsonl', 1, [second])
        deadline = time.monotonic() + 60
        while str(second.pid) not in (workdir / 'lock').read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        second.kill()
        second.wait()
    assert json.loads((workdir / 'config.json').read_text())['epochs'] == 100_000
