import contextlib
import errno
import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import sweep
from launch.local import execute, run_all
from launch.planning import Run

ROOT = Path(__file__).parents[2]


def _run(folder, name, *programs, needs=None, makes=True):
    """A run whose command is some Python programs, of which the last makes its file."""
    workdir = folder / name
    last = f'import pathlib; p = pathlib.Path({str(workdir)!r}); p.mkdir(exist_ok=True); '
    last += "(p / 'result.json').touch()"
    text = '\n'.join([*programs, last] if makes else programs)
    needed = folder / needs if needs else None
    command = (sys.executable, '-c', text)
    return Run((name,), 0, workdir, (command,), (workdir / 'result.json',), needed)


def test_what_is_done_is_not_done_again(tmp_path):
    run = _run(tmp_path, 'a', "print('hello')")
    assert run_all([run], 1)[0].reason == ''
    assert run.log.read_text() == 'hello\n'
    assert execute(run).reason == ''
    assert run.log.read_text() == 'hello\n'


def test_of_a_run_that_broke_off_only_the_rest_is_done(tmp_path):
    """Scores would refuse to be written over."""
    texts = [f"print('{name}'); open({str(tmp_path / name)!r}, 'x')" for name in 'ab']
    commands = tuple((sys.executable, '-c', text) for text in texts)
    run = Run(('x',), 0, tmp_path / 'x', commands, (tmp_path / 'a', tmp_path / 'b'), None)
    (tmp_path / 'a').touch()
    assert execute(run).reason == ''
    assert run.log.read_text() == 'b\n'


def test_a_failure_stops_its_own_followers_alone(tmp_path):
    runs = [
        _run(tmp_path, 'bad', "print('line'); raise SystemExit(3)"),
        _run(tmp_path, 'after bad', needs='bad'),
        _run(tmp_path, 'after after bad', needs='after bad'),
        _run(tmp_path, 'good'),
        _run(tmp_path, 'after good', needs='good'),
        _run(tmp_path, 'empty', 'pass', makes=False),
    ]
    reasons = {outcome.run.folder.name: outcome.reason for outcome in run_all(runs, 2)}
    assert reasons == {
        'bad': 'exit status 3',
        'after bad': 'needs bad, seed 0, which failed',
        'after after bad': 'needs after bad, seed 0, which failed',
        'good': '',
        'after good': '',
        'empty': 'made no result.json',
    }
    assert not (tmp_path / 'after bad').exists()


@pytest.mark.parametrize('jobs', [1, 3])
def test_no_more_run_at_a_time_than_asked_for(jobs, tmp_path):
    # Each writes when it began and ended; overlaps are counted from that. The first ones go on only
    # when as many have begun as may run at a time, and give up where that never comes.
    stamp = f"""
import os, pathlib, time
began = time.monotonic()
folder = pathlib.Path({str(tmp_path)!r})
(folder / f'{{os.getpid()}}.began').touch()
while len(list(folder.glob('*.began'))) < {jobs}:
    assert time.monotonic() < began + 30
    time.sleep(0.02)
time.sleep(0.2)
print(began, time.monotonic())
"""
    runs = [_run(tmp_path, str(number), stamp) for number in range(5)]
    assert [outcome.reason for outcome in run_all(runs, jobs)] == 5 * ['']
    spans = [tuple(map(float, run.log.read_text().split())) for run in runs]
    most = max(sum(b < at <= e for b, e in spans) for _, at in spans)
    assert 1 <= most <= jobs
    # And no fewer.
    assert most == jobs


def test_who_waits_keeps_nobody_from_running(tmp_path):
    stamp = "import time; print('began', time.monotonic()); time.sleep(0.5)"
    stamp += "; print('ended', time.monotonic())"
    runs = [
        _run(tmp_path, 'first', stamp),
        _run(tmp_path, 'after', needs='first'),
        _run(tmp_path, 'second', stamp),
    ]
    run_all(runs, 2)
    times = {run.folder.name: run.log.read_text().split() for run in runs}
    assert float(times['second'][1]) < float(times['first'][3])


def test_a_follower_waits_even_for_one_that_is_slow(tmp_path):
    runs = [
        _run(tmp_path, 'slow', 'import time; time.sleep(0.5)'),
        _run(
            tmp_path,
            'after',
            f'assert open({str(tmp_path / "slow" / "result.json")!r})',
            needs='slow',
        ),
    ]
    assert [outcome.reason for outcome in run_all(runs, 2)] == ['', '']


def test_two_launchers_do_not_share_a_workdir(tmp_path):
    run = _run(tmp_path, 'a')
    with run.folder.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert execute(run).reason == 'is being run by another process'
        # It has not failed, so what needs it has not either.
        outcomes = run_all([run, _run(tmp_path, 'after', needs='a')], 1)
        assert {each.reason: each.stopped for each in outcomes} == {
            'is being run by another process': True,
            'was not started': True,
        }
    assert execute(run).reason == ''


def test_a_lock_that_is_held_for_an_instant_stops_no_run(tmp_path, monkeypatch):
    """As `--status` holds it when it looks whether the run is running."""
    run = _run(tmp_path, 'a')
    with run.folder.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        monkeypatch.setattr(time, 'sleep', lambda _: fcntl.flock(lock, fcntl.LOCK_UN))
        assert execute(run).reason == ''


@pytest.mark.ci
def test_what_a_killed_launcher_left_running_keeps_its_lock(tmp_path):
    run = _run(tmp_path, 'a', "print('begun', flush=True); import time; time.sleep(3)")
    imports = 'from launch.local import *; from launch.planning import *; from pathlib import *'
    program = f'{imports}; execute({run!r})'
    launcher = subprocess.Popen([sys.executable, '-c', program], cwd=ROOT)
    while not (run.log.exists() and run.log.read_text()):
        assert launcher.poll() is None
        time.sleep(0.05)
    launcher.kill()
    launcher.wait()
    assert execute(run).reason == 'is being run by another process'
    while execute(run).reason:
        time.sleep(0.2)
    assert run.done()


def test_a_file_system_without_locks_stops_no_run(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    outcomes = run_all([_run(tmp_path, name) for name in 'ab'], 1)
    assert [outcome.reason for outcome in outcomes] == ['', '']
    assert caplog.messages == [
        f'{tmp_path}: cannot be locked (No locks available); start one sweep at a time there'
    ]


def _sweep(runs, folder, monkeypatch):
    """Exit status of a sweep of these runs."""
    monkeypatch.setattr(sweep, 'plan', lambda *_: runs)
    return sweep.main(['--config=configs/digits.py', f'--runs={folder}'])


def test_a_file_that_cannot_be_used_is_a_failure_of_its_run_alone(tmp_path, monkeypatch, capsys):
    runs = [_run(tmp_path, name) for name in ('log', 'lock', 'program', 'good')]
    runs[0].log.mkdir()
    lock = runs[1].folder.with_suffix('.lock')
    lock.mkdir()
    runs[2] = runs[2]._replace(commands=((str(tmp_path / 'none'),),))
    assert _sweep(runs, tmp_path, monkeypatch) == 1
    told = capsys.readouterr().out
    assert f'1 of 4 runs are done, in {tmp_path}\n' in told
    rest = 'repair it, and give the same command again; log'
    assert f'FAILED log, seed 0: {runs[0].log}: Is a directory; {rest} {runs[0].log}\n' in told
    assert f'FAILED lock, seed 0: {lock}: Is a directory; {rest}' in told
    assert f'FAILED program, seed 0: {tmp_path}/none: No such file or directory; {rest}' in told


def test_a_full_disk_leaves_the_list_of_folders(tmp_path, monkeypatch, capsys):
    folders = tmp_path / 'config.txt'
    folders.write_text('runs/0123456789abcdef\n\n')

    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    assert _sweep([_run(tmp_path, 'a')], tmp_path, monkeypatch) == 1
    assert capsys.readouterr().err == (
        f'error: --runs={tmp_path}: cannot be written (No space left on device)\n'
    )
    assert list(tmp_path.iterdir()) == [folders]
    assert folders.read_text() == 'runs/0123456789abcdef\n\n'


def test_a_list_takes_folders_that_are_not_text_and_keeps_earlier_ones(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b'l\xe4ufe')
    for names in ('a', 'ba'):
        runs = [_run(folder, name) for name in names]
        for run in runs:
            run.folder.mkdir(parents=True, exist_ok=True)
            run.makes[0].touch()
        assert _sweep(runs, folder, monkeypatch) == 0
    listed = (folder / 'config.txt').read_bytes()
    assert listed == b''.join(os.fsencode(folder / name) + b'\n' for name in 'ab')


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('config.txt', 'my notes\r\nmy notes\r\n', 'is no list of runs'),
        ('config.txt', 'lr=0.1\n', 'is no list of runs'),
        ('cells.json', '{"mine": [1]}', 'does not hold names of cells'),
    ],
)
def test_files_of_somebody_else_stay(tmp_path, monkeypatch, capsys, name, content, words):
    (tmp_path / name).write_bytes(content.encode())
    assert _sweep([_run(tmp_path, 'a')], tmp_path, monkeypatch) == 1
    assert words in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == content.encode()


@pytest.mark.ci
def test_a_sweep_trains_and_lists_what_failed(tmp_path, capsys):
    config = tmp_path / 'config.py'
    data = tmp_path / 'data.npz'
    config.write_text(
        'from tests.helpers import small_config, write_npz\n'
        'from pathlib import Path\n\n\n'
        'def get_config():\n'
        f'    data = Path({str(data)!r})\n'
        '    data.exists() or write_npz(data)\n'
        "    return small_config(data__name='npz', data__data_dir=str(data))\n"
    )
    command = ['--grid=table1', f'--config={config}', '--seeds=1', f'--runs={tmp_path / "runs"}']
    assert sweep.main([*command, '--dry_run']) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith('#')] == [
        '# baseline, seed 0',
        '# removed, seed 0',
    ]
    assert shlex.split(printed[1])[1:3] == ['-m', 'contrastive_jax.main']
    assert not (tmp_path / 'runs').exists()
    assert sweep.main([*command, '--dry_run', '--log=wandb']) == 0
    logged = [line for line in capsys.readouterr().out.splitlines() if line[0] != '#']
    assert all(line.endswith(' --log=wandb') for line in logged if 'contrastive_jax.main' in line)
    assert not any('--log' in line for line in logged if 'contrastive_jax.main' not in line)

    assert sweep.main(command) == 0
    assert '2 of 2 runs are done' in capsys.readouterr().out
    results = sorted((tmp_path / 'runs').glob('*/result.json'))
    listed = (tmp_path / 'runs' / 'table1.txt').read_text().split()
    assert sorted(listed) == [str(path.parent) for path in results]
    names = json.loads((tmp_path / 'runs' / 'cells.json').read_text())
    assert names.keys() == {'makes', *(path.parent.name for path in results)}
    selects = [
        json.loads((p.parent / 'config.json').read_text())['pairs']['remove'] for p in results
    ]
    assert sorted(selects) == [False, True]
    for path, removes in zip(results, selects, strict=True):
        assert names[path.parent.name] == ['removed' if removes else 'baseline']
    before = [path.stat().st_mtime_ns for path in results]
    assert sweep.main(command) == 0
    assert [path.stat().st_mtime_ns for path in results] == before

    assert sweep.main([*command, '--', '--config.batch_size=4000']) == 1
    told = capsys.readouterr().out
    assert '0 of 2 runs are done' in told
    assert told.count('FAILED') == 2
    assert 'error: config.batch_size=4000: larger than the 40 training images' in told


def test_output_that_knows_ascii_alone_takes_every_name(tmp_path):
    command = ['--grid=table1', '--config=configs/digits.py', f'--runs={tmp_path / "läufe"}']
    done = subprocess.run(
        [sys.executable, '-m', 'launch.sweep', *command, '--seeds=1', '--dry_run'],
        cwd=ROOT,
        env=os.environ | {'PYTHONIOENCODING': 'ascii'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 'l\\xe4ufe' in done.stdout


@pytest.mark.parametrize('wrong', ['--seeds=0', '--jobs=many', '--grid=tabel4'])
def test_a_wrong_flag_ends_the_sweep(wrong, tmp_path, capsys):
    command = ['--grid=table1', '--config=configs/digits.py', f'--runs={tmp_path}', wrong]
    # argparse leaves the program by itself.
    with contextlib.suppress(SystemExit):
        assert sweep.main(command) == 1
    assert wrong.partition('=')[2] in capsys.readouterr().err


@pytest.mark.parametrize('slurm', ['--slurm', '--slurm=partition=gpu'])
def test_a_number_of_jobs_is_refused_on_slurm(slurm, tmp_path, capsys):
    command = ['--config=configs/digits.py', f'--runs={tmp_path}', '--jobs=4', slurm]
    with pytest.raises(SystemExit, match='2'):
        sweep.main(command)
    last = capsys.readouterr().err.splitlines()[-1]
    assert '--jobs=4: is for runs on this machine' in last
    assert last.endswith('leave it out, or name a QOS that has a limit, as --slurm=qos=NAME')


def test_a_folder_of_runs_that_cannot_be_made_is_refused_before_any_run(tmp_path, capsys):
    (tmp_path / 'file').touch()
    command = ['--grid=table1', '--config=configs/digits.py:small', f'--runs={tmp_path}/file/runs']
    assert sweep.main(command) == 1
    assert capsys.readouterr().err == (
        f'error: --runs={tmp_path}/file/runs: cannot be written (Not a directory)\n'
    )


def test_without_a_grid_each_seed_of_the_config_is_a_run(tmp_path, capsys):
    command = ['--config=configs/digits.py', '--seeds=2', f'--runs={tmp_path}', '--dry_run']
    assert sweep.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == ['# config, seed 0', '# config, seed 1']
    assert [line.rpartition(' ')[2] for line in lines[1::2]] == [
        '--config.seed=0',
        '--config.seed=1',
    ]
