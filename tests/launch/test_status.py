import errno
import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from launch import sweep
from launch.cells import GridError
from launch.planning import Run
from launch.status import State, describe, last_line, overview, state_of

ROOT = Path(__file__).parents[2]
LINE = 'train: step 30 of 100, 30 %, 01:10 left, epoch 2, loss 5.272, 191 pairs/s'


def _run(folder, name):
    return Run((name,), 0, folder / name, (), (), None)


def _done(folder, seconds=60.0):
    folder.mkdir()
    (folder / 'result.json').write_text(json.dumps({'seconds': seconds}))


def test_a_run_is_done_running_stopped_or_waiting(tmp_path):
    _done(tmp_path / 'a')
    for name in 'bc':
        (tmp_path / f'{name}.log').write_text(f'arm simclr\n{LINE}\n')
    os.utime(tmp_path / 'c.log', (0, 0))
    states = [state_of(tmp_path / name, name) for name in 'abcd']
    assert [state.name for state in states] == ['done', 'running', 'stopped', 'waiting']
    assert states[0].seconds == 60
    assert [state.line for state in states] == ['', LINE, LINE, '']
    assert [state.share for state in states] == [0, 0.3, 0, 0]


def test_a_run_is_running_as_long_as_its_lock_is_held(tmp_path):
    """However long it is silent; one that has failed is not running, however new its log is."""
    (tmp_path / 'a.log').write_text(f'{LINE}\n')
    with (tmp_path / 'a.lock').open('w') as lock:
        assert state_of(tmp_path / 'a', 'a').name == 'stopped'
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(tmp_path / 'a.log', (0, 0))
        assert state_of(tmp_path / 'a', 'a').name == 'running'
    assert state_of(tmp_path / 'a', 'a').name == 'stopped'


def test_the_log_tells_where_locks_do_not(tmp_path, monkeypatch):
    (tmp_path / 'a.log').write_text(f'{LINE}\n')
    (tmp_path / 'a.lock').touch()
    # Jobs of Slurm run on other machines.
    (tmp_path / 'slurm').mkdir()
    assert state_of(tmp_path / 'a', 'a').name == 'running'
    (tmp_path / 'slurm').rmdir()
    assert state_of(tmp_path / 'a', 'a').name == 'stopped'

    def no_locks(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    assert state_of(tmp_path / 'a', 'a').name == 'running'


@pytest.mark.parametrize(
    'content', [{'a': 3}, {'a': [3]}, {'makes': ['a']}, {'a': [], 'makes': {'a': 3}}]
)
def test_names_of_another_shape_are_one_line(content, tmp_path):
    (tmp_path / 'cells.json').write_text(json.dumps(content))
    with pytest.raises(GridError, match=r'cells\.json: does not hold names of cells; move it away'):
        overview(tmp_path)


def test_the_last_line_of_a_log_is_the_one_that_a_terminal_would_show(tmp_path):
    log = tmp_path / 'log'
    assert last_line(log) == ''
    log.write_bytes(b'x' * 9000 + b'\nfirst\rsecond\r\n\n  \xff\n')
    assert last_line(log) == '\ufffd'
    log.write_text('\n')
    assert last_line(log) == ''


def test_the_time_left_is_that_of_the_finished_runs():
    states = [
        State('a', 'done', '', 100.0),
        State('b', 'done', '', 140.0),
        State('c', 'running', LINE),
        State('d', 'running', 'probe: raw pixels'),
        State('e', 'stopped', LINE),
        State('f', 'waiting', ''),
    ]
    assert describe(states) == [
        f'c: {LINE}',
        'd: probe: raw pixels',
        f'e: stopped; its last line: {LINE}',
        # 3.7 runs of 120 s, two at a time.
        '6 runs: 2 done, 2 running, 1 stopped, 1 waiting; about 0:03:42 left, by the 2 done',
    ]
    assert describe(states[3:]) == [
        *describe(states)[1:3],
        '3 runs: 1 running, 1 stopped, 1 waiting',
    ]


def test_the_command_tells_from_elsewhere(tmp_path, capsys):
    with pytest.raises(GridError, match=r'has no cells\.json'):
        overview(tmp_path)
    assert sweep.main(['--status', f'--runs={tmp_path / "nowhere"}']) == 1
    (tmp_path / 'cells.json').write_text('{')
    with pytest.raises(GridError, match=r'cells\.json: damaged.*delete it'):
        overview(tmp_path)
    (tmp_path / 'cells.json').write_text('{"a": ["one", "two"], "b": []}')
    _done(tmp_path / 'a')
    capsys.readouterr()
    assert sweep.main(['--status', f'--runs={tmp_path}']) == 0
    assert capsys.readouterr().out == '2 runs: 1 done, 1 waiting\n'
    for name in 'cd':
        (tmp_path / name).mkdir()
        (tmp_path / name / 'config.json').write_text('{"seed": 3}')
        (tmp_path / f'{name}.log').write_text(f'{LINE}\n')
    (tmp_path / 'cells.json').write_text('{"c": ["one", "two"], "d": []}')
    assert overview(tmp_path)[:2] == [f'one = two, seed 3: {LINE}', f'config, seed 3: {LINE}']
    with pytest.raises(SystemExit):
        sweep.main([f'--runs={tmp_path}'])


def test_a_run_whose_scoring_is_left_is_not_done(tmp_path, monkeypatch, capsys):
    """Also if another grid, which shares the run, needs no scores."""
    run = _run(tmp_path, 'a')
    made = (run.folder / 'result.json', run.folder / 'verify' / 'scores.npz')
    train = 'pass'
    score = 'print("no scores"); raise SystemExit(3)'
    commands = tuple((sys.executable, '-c', text) for text in (train, score))
    scored = run._replace(commands=commands, makes=made)
    _done(run.folder)

    def said(*arguments):
        sweep.main([*arguments, f'--runs={tmp_path}'])
        return capsys.readouterr().out

    def swept(run):
        monkeypatch.setattr(sweep, 'plan', lambda *_: [run])
        return said('--config=configs/digits.py')

    left = 'a: stopped; its last line: no scores\n1 runs: 1 stopped\n'
    assert '0 of 1 runs are done' in swept(scored)
    assert said('--status') == left
    assert '1 of 1 runs are done' in swept(run._replace(commands=commands[:1], makes=made[:1]))
    assert said('--status') == left
    made[1].parent.mkdir()
    made[1].touch()
    assert said('--status') == '1 runs: 1 done\n'


@pytest.mark.ci
def test_a_terminal_shows_a_line_for_each_running_run(tmp_path):
    program = (
        'import sys\n'
        'from pathlib import Path\n'
        'from launch.local import run_all\n'
        'from launch.planning import Run\n'
        f'folder = Path({str(tmp_path)!r})\n'
        'text = \'import pathlib, time; print("loss 1.5", flush=True); time.sleep(5); \'\n'
        'runs = []\n'
        "for name in ('one', 'two'):\n"
        '    made = folder / name / "result.json"\n'
        '    last = f"p = pathlib.Path({str(made)!r}); p.parent.mkdir(); p.touch()"\n'
        '    command = (sys.executable, "-c", text + last)\n'
        '    runs.append(Run((name,), 0, folder / name, (command,), (made,), None))\n'
        'run_all(runs, 2)\n'
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    child = subprocess.Popen([sys.executable, '-c', program], cwd=ROOT, stderr=theirs)
    os.close(theirs)
    shown = b''
    with open(ours, 'rb', buffering=0) as screen:
        try:
            while part := screen.read(4096):
                shown += part
        except OSError:  # The other end is closed.
            pass
    assert child.wait() == 0
    for name in ('one', 'two'):
        assert re.search(rf'{name}, seed 0: loss 1\.5'.encode(), shown)
    assert b'2 of 2: ' in shown
