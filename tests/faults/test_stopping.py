"""Told to stop, out of room, not allowed to write, or already running: nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest

from contrastive_jax import main, preemption
from contrastive_jax.errors import UserError
from tests.helpers import small_config, write_npz
from tests.processes import finish, log_of, metrics, parameters, result, start

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


def _changes(folder, **changes):
    data = folder / 'data.npz'
    if not data.exists():
        write_npz(data)
    return {'data__name': 'npz', 'data__data_dir': str(data), 'checkpoint_every': 10_000} | changes


def _wait_for(log, steps, started):
    """Until a run has written some steps."""
    deadline = time.monotonic() + 200
    while not log.exists() or log.read_bytes().count(b'\n') < steps:
        assert time.monotonic() < deadline
        assert all(running.poll() is None for running in started)
        time.sleep(0.05)


@pytest.mark.parametrize('processes', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_told_to_stop_saves_and_goes_on(processes, tmp_path):
    # Long enough not to end by itself: the first checkpoint would come after the last step.
    long = _changes(tmp_path, epochs=100_000)
    broken = tmp_path / 'broken'
    started = start(broken, long, processes=processes)
    _wait_for(broken / 'metrics.jsonl', 3, started)
    started[-1].send_signal(signal.SIGTERM)
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


def test_a_second_signal_ends_it_at_once():
    before = signal.getsignal(signal.SIGTERM)

    def stopped():
        with preemption.noting() as told:
            assert not told(1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert told(2)
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    try:
        with pytest.raises(preemption.Preempted):
            stopped()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_run_with_nothing_to_save_ends_with_the_same_status(tmp_path):
    # While it imports what it needs and reads its data, or compiles.
    started = start(tmp_path / 'run', _changes(tmp_path), dying=('slow_data', '1'))
    log = log_of(tmp_path / 'run')
    while 'reading' not in log.read_text():
        assert started[0].poll() is None, log.read_text()
        time.sleep(0.05)
    started[0].send_signal(signal.SIGTERM)
    assert started[0].wait(60) == preemption.STATUS
    assert 'error: told to stop' in log.read_text()


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
