"""One run in several processes, started as a user starts it."""

import json
import re
import shutil
import signal

import jax
import numpy as np
import pytest

from contrastive_jax.errors import LoneError, UserError
from contrastive_jax.runtime import distributed
from contrastive_jax.runtime.distributed import ProcessInfo, started_as_one_of_many
from contrastive_jax.runtime.distributed import start as join
from tests.helpers import npz_changes, small_config, state_and_step
from tests.processes import finish, log_of, parameters, start

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')
SMALL = {
    'epochs': 4,
    'checkpoint_every': 3,
    'pairs__select': 'difficult',
    'pairs__pos_low': 0.5,
    'pairs__margin': 0.2,
}


# Of the run on one device, which several tests share. A monitor changes no parameter.
MONITOR = {'monitor__every_epochs': 2, 'monitor__images': 10}


def _changes(tmp_path, **changes):
    return SMALL | npz_changes(tmp_path) | changes


@pytest.fixture(scope='module')
def one_by_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one')
    finish(folder / 'run', _changes(folder, **MONITOR))
    return folder / 'run'


# Of the devices of one process other tests ask as well.
@pytest.mark.ci
@pytest.mark.parametrize(
    ('processes', 'devices'), [(2, 2), pytest.param(1, 4, marks=pytest.mark.slow)]
)
def test_processes_and_devices_change_no_parameter(processes, devices, tmp_path, one_by_one):
    changes, run = _changes(tmp_path, **MONITOR), tmp_path / 'run'
    finish(run, changes, processes=processes, devices=devices)
    last, expected = parameters(one_by_one, changes)
    step, values = parameters(run, changes)
    assert step == last == 8
    np.testing.assert_allclose(values, expected, atol=2e-5)
    initial, _ = state_and_step(small_config(**changes), channels=1, mapped=False)
    before = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(initial.params)])
    assert np.abs(expected[: len(before)] - before).max() > 0.01
    accuracies = [
        json.loads((path / 'result.json').read_text())['linear_accuracy']
        for path in (run, one_by_one)
    ]
    assert accuracies[0] == accuracies[1]
    # Only one process talks and logs.
    talked = ['linear' in log_of(run, process).read_text() for process in range(processes)]
    assert talked == [True, False][:processes]
    lines = (run / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == list(range(1, 9))
    looks, found = _looks(one_by_one), _looks(run)
    assert sorted(found) == sorted(looks) == [4, 8]
    # From the same parameters but for their last bits.
    for step, values in found.items():
        np.testing.assert_allclose(values, looks[step], atol=1e-3)


def _looks(workdir):
    """Rank, alignment and uniformity by step, as the monitor has seen them."""
    lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    names = [f'monitor/{name}' for name in ('rank', 'alignment', 'uniformity', 'alpha')]
    return {
        line['step']: [line[name] for name in names] for line in lines if 'monitor/rank' in line
    }


@pytest.mark.ci
@pytest.mark.parametrize('lost', [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_lost_process_stops_the_others_and_the_run_resumes(lost, tmp_path, one_by_one):
    # Few steps: what differs between devices in the last bit grows, and flips a selected pair.
    changes = _changes(tmp_path, checkpoint_every=1)
    workdir = tmp_path / 'run'
    dying = ('step', '6')
    started = start(workdir, changes, processes=2, devices=2, dying=dying, lost=lost)
    assert started[lost].wait(300) == -signal.SIGKILL
    assert started[1 - lost].wait(200) not in (0, None)
    log = log_of(workdir, 1 - lost).read_text()
    assert 'another process' in log or 'another task died' in log, log
    assert not (workdir / 'result.json').exists()

    # With other devices, from the checkpoint.
    finish(workdir, changes, processes=1, devices=4)
    assert re.search(r'goes on after step [345] of 8', log_of(workdir).read_text())
    step, resumed = parameters(workdir, changes)
    assert step == 8
    unbroken = parameters(one_by_one, changes)[1]
    np.testing.assert_allclose(resumed, unbroken, atol=2e-5)
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == list(range(1, 9))


def test_processes_of_different_configs_do_not_begin(tmp_path):
    changes = _changes(tmp_path)
    started = start(tmp_path / 'run', changes, processes=2, differ={'seed': 1})
    assert [running.wait(200) for running in started] == [1, 1]
    for process in range(2):
        log = (tmp_path / f'run.{process}.log').read_text()
        assert 'error: --distributed: processes [1] have other config than process 0' in log
    assert not (tmp_path / 'run').exists()


@pytest.mark.ci
def test_what_one_process_alone_cannot_read_ends_all(tmp_path):
    changes = _changes(tmp_path)
    # One config, whose relative path leads elsewhere on another machine.
    path = changes['data__data_dir']
    changes['data__data_dir'] = 'data.npz'
    (tmp_path / 'first').mkdir()
    (tmp_path / 'second').mkdir()
    shutil.copy(path, tmp_path / 'first' / 'data.npz')
    folders = (tmp_path / 'first', tmp_path / 'second')
    started = start(tmp_path / 'run', changes, processes=2, folders=folders)
    assert [running.wait(200) for running in started] == [1, 1]
    for process in range(2):
        log = (tmp_path / f'run.{process}.log').read_text()
        assert "error: config.data.data_dir='data.npz': no such file" in log


def test_slurm_steps_are_many_and_batch_scripts_are_one():
    assert started_as_one_of_many({'SLURM_STEP_NUM_TASKS': '2', 'SLURM_NTASKS': '2'})
    assert not started_as_one_of_many({'SLURM_STEP_NUM_TASKS': '1'})
    assert not started_as_one_of_many({'SLURM_NTASKS': '2'})
    assert not started_as_one_of_many({})


def test_half_a_place_is_refused():
    with pytest.raises(UserError, match='num_processes'):
        join(None, ProcessInfo('localhost:1', None, 0))
    with pytest.raises(UserError, match='process_id'):
        join(True, ProcessInfo('localhost:1', 2, 2))
    assert join(False, ProcessInfo()) is None


class _Left(BaseException):
    """Instead of the end of the process; its arguments are the line and the status."""


@pytest.fixture
def leaving(monkeypatch):
    def leave(*arguments):
        raise _Left(*arguments)

    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(distributed, '_leave', leave)


@pytest.mark.parametrize('kind', [ValueError, jax.errors.JaxRuntimeError])
def test_a_collective_that_fails_at_its_dispatch_ends_the_process(kind, leaving):
    with pytest.raises(_Left) as left, distributed.or_leave():
        raise kind('UNKNOWN: Gloo all-reduce failed: Connection closed by peer\nmore')
    text, status = left.value.args
    with pytest.raises(_Left) as left, distributed.or_leave():
        raise kind('INTERNAL: NCCL operation ncclAllReduce failed: remote error')
    assert left.value.args[1] == 75
    assert 'Gloo all-reduce failed: Connection closed by peer. Most likely' in text
    assert status == 75
    with pytest.raises(ValueError, match='no status'), distributed.or_leave():
        raise ValueError('no status of XLA')
    with pytest.raises(UserError, match='INTERNAL'), distributed.or_leave():
        raise UserError('INTERNAL: a file of the user')


@pytest.mark.parametrize('kind', [ValueError, jax.errors.JaxRuntimeError])
@pytest.mark.parametrize('status', ['RESOURCE_EXHAUSTED', 'INVALID_ARGUMENT', 'INTERNAL'])
def test_an_error_that_comes_again_is_no_lost_process(kind, status, leaving):
    with pytest.raises(_Left) as left, distributed.or_leave():
        raise kind(f'{status}: Out of memory\nmore')
    assert left.value.args == (f'cannot go on: {status}: Out of memory', 1)


def test_a_process_alone_with_an_error_of_the_user_waits_for_nobody(leaving):
    with pytest.raises(_Left) as left, distributed.or_leave():
        raise LoneError('a.png: cannot be read')
    assert left.value.args == ('cannot go on: a.png: cannot be read', 1)
