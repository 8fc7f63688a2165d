"""A damaged workdir: the run falls back to what is intact and says so, or stops with one line."""

import errno
import gc
import os
import shutil
from contextlib import closing

import jax
import numpy as np
import pytest

from contrastive_jax import main
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.errors import UserError
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runs.logs import checksum_of_steps
from contrastive_jax.runs.training_set import claim_workdir
from contrastive_jax.runtime.files import SUMS
from tests.helpers import npz_changes, small_config, state_and_step
from tests.marks import in_ci
from tests.processes import metrics, parameters, result

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(autouse=True, scope='module')
def _swept():
    yield
    # What Orbax left unfinished complains when it is collected: here, and in no other module.
    gc.collect()


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A finished run: 8 steps, checkpoints after 6 and 8."""
    folder = tmp_path_factory.mktemp('finished')
    changes = {**npz_changes(folder), 'epochs': 4, 'checkpoint_every': 3}
    main.run(small_config(**changes), folder / 'run')
    return folder / 'run', changes


@pytest.fixture
def stopped(finished, tmp_path):
    """The same, before its encoder and its result were written."""
    shutil.copytree(finished[0], tmp_path / 'run')
    (tmp_path / 'run' / 'encoder.safetensors').unlink()
    (tmp_path / 'run' / 'result.json').unlink()
    return tmp_path / 'run', small_config(**finished[1])


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])


def _zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path):
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data), max(1, len(data) // 20)):
        data[place] ^= 0x10
    path.write_bytes(data)


def _delete(path):
    path.unlink()


DAMAGE = {'truncate': _truncate, 'zero': _zero, 'flip': _flip, 'delete': _delete}


def _same_run(workdir, finished):
    assert result(workdir) == result(finished[0])
    assert metrics(workdir) == metrics(finished[0])
    for mine, other in zip(parameters(workdir, finished[1]), parameters(*finished), strict=True):
        np.testing.assert_array_equal(mine, other)


def _files_of(checkpoint):
    return sorted(path for path in checkpoint.rglob('*') if path.is_file() and path.stat().st_size)


def _restored(workdir, changes):
    """The state that a run of the folder would go on from."""
    initial, _ = state_and_step(small_config(**changes), channels=1, mapped=False)
    with closing(Checkpoints(workdir)) as checkpoints:
        return checkpoints.restore(initial, lambda step: checksum_of_steps(workdir, step))


# What the other damages show, a flipped byte shows too.
@pytest.mark.parametrize(
    'damage',
    [*in_ci('flip'), *(pytest.param(d, marks=pytest.mark.slow) for d in DAMAGE if d != 'flip')],
)
def test_with_any_file_of_the_newest_checkpoint_damaged_no_other_state_is_read(
    damage, stopped, finished, tmp_path
):
    workdir = stopped[0]
    whole = {8: _restored(workdir, finished[1])}
    shutil.copytree(workdir, tmp_path / 'older')
    shutil.rmtree(tmp_path / 'older' / 'checkpoints' / '8')
    whole[6] = _restored(tmp_path / 'older', finished[1])
    assert {int(state.step) for state in whole.values()} == {6, 8}
    for name in _files_of(workdir / 'checkpoints' / '8'):
        once = tmp_path / 'once'
        shutil.copytree(workdir, once)
        DAMAGE[damage](once / name.relative_to(workdir))
        state = _restored(once, finished[1])
        expected = whole[int(state.step)]._replace(key=None)
        jax.tree.map(np.testing.assert_array_equal, state._replace(key=None), expected)
        assert (once / 'damaged' / '8').is_dir() == (int(state.step) == 6)
        shutil.rmtree(once)


def test_what_is_refused_is_kept_and_said(stopped, finished, caplog):
    workdir, config = stopped
    for path in _files_of(workdir / 'checkpoints' / '8'):
        _zero(path)
    main.run(config, workdir)
    _same_run(workdir, finished)
    assert (workdir / 'damaged' / '8').is_dir()
    assert 'moved checkpoint 8 to' in caplog.text


def test_with_no_checkpoint_intact_the_run_stops(stopped):
    workdir, config = stopped
    for step in ('6', '8'):
        for path in _files_of(workdir / 'checkpoints' / step):
            _flip(path)
    before = (workdir / 'metrics.jsonl').read_bytes()
    with pytest.raises(UserError, match=r'no checkpoint can be used \(step 8: .*; step 6: '):
        main.run(config, workdir)
    assert (workdir / 'metrics.jsonl').read_bytes() == before


def test_with_all_checkpoints_gone_the_run_does_not_silently_begin_again(stopped):
    workdir, config = stopped
    shutil.rmtree(workdir / 'checkpoints')
    with pytest.raises(UserError, match='8 steps are logged, and there is no checkpoint'):
        main.run(config, workdir)


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_log_stops_the_run(damage, stopped):
    workdir, config = stopped
    DAMAGE[damage](workdir / 'metrics.jsonl')
    with pytest.raises(UserError, match='does not follow from the log'):
        main.run(config, workdir)


@pytest.mark.ci
def test_a_log_that_lost_its_end_falls_back(stopped, finished):
    workdir, config = stopped
    lines = (workdir / 'metrics.jsonl').read_bytes().splitlines(keepends=True)
    (workdir / 'metrics.jsonl').write_bytes(b''.join(lines[:7]) + lines[7][:9])
    main.run(config, workdir)
    _same_run(workdir, finished)


@pytest.mark.parametrize('damage', DAMAGE)
@pytest.mark.parametrize('name', ['config.json', SUMS])
def test_a_workdir_that_is_not_known_to_be_the_runs_is_refused(name, damage, stopped):
    workdir, config = stopped
    DAMAGE[damage](workdir / name)
    if (name, damage) == (SUMS, 'delete'):
        # Somebody believes the files, and says so by deleting it.
        main.run(config, workdir)
        return
    with pytest.raises(UserError, match=rf'{name}'):
        main.run(config, workdir)
    assert not (workdir / 'result.json').exists()


@pytest.mark.parametrize('damage', ['truncate', 'zero', 'flip'])
def test_a_damaged_result_is_not_reported(damage, finished, tmp_path):
    workdir = tmp_path / 'run'
    shutil.copytree(finished[0], workdir)
    DAMAGE[damage](workdir / 'result.json')
    config = small_config(**finished[1])
    with pytest.raises(UserError, match=r'result\.json: damaged.*delete it'):
        main.run(config, workdir)
    (workdir / 'result.json').unlink()
    main.run(config, workdir)
    _same_run(workdir, finished)


def test_one_changed_digit_of_a_result_is_noticed(finished, tmp_path):
    workdir = tmp_path / 'run'
    shutil.copytree(finished[0], workdir)
    text = (workdir / 'result.json').read_text()
    (workdir / 'result.json').write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match='its checksum'):
        main.run(small_config(**finished[1]), workdir)


@pytest.mark.parametrize('damage', ['truncate', 'zero', 'flip'])
def test_a_damaged_training_set_is_refused(damage, stopped):
    workdir, config = stopped
    DAMAGE[damage](workdir / 'training_set.npz')
    with pytest.raises(UserError, match=r'training_set\.npz: .*delete it|begun with other images'):
        main.run(config, workdir)


@pytest.mark.parametrize('damage', ['truncate', 'zero', 'flip', 'delete'])
def test_damaged_scores_are_refused(damage, finished, tmp_path):
    scores = tmp_path / 'scores.npz'
    count = 40
    np.savez(scores, index=np.arange(count), score=np.linspace(0, 1, count))
    removal = {'removal__ratio': 0.2, 'removal__method': 'file', 'removal__scores': str(scores)}
    config = small_config(**finished[1], **removal)
    # Undamaged it is taken, so that the damage alone is what is refused.
    kept = construct(config, sources.load(config.data).pretrain).kept
    np.testing.assert_array_equal(kept, np.arange(32))
    DAMAGE[damage](scores)
    with pytest.raises(UserError, match=r'scores\.npz'):
        main.run(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_reading_a_run_moves_nothing(stopped):
    workdir, _ = stopped
    for path in _files_of(workdir / 'checkpoints' / '8'):
        _zero(path)
    before = sorted(workdir.rglob('*'))
    assert load_run(workdir).step == 6
    assert sorted(workdir.rglob('*')) == before


def test_a_damaged_checkpoint_is_moved_from_another_disk_too(stopped, monkeypatch):
    workdir, config = stopped
    for path in _files_of(workdir / 'checkpoints' / '8'):
        _flip(path)

    def rename(source, target):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)

    with monkeypatch.context() as patched:
        patched.setattr(shutil.os, 'rename', rename)
        with closing(Checkpoints(workdir)) as checkpoints:
            initial, _ = state_and_step(config, channels=1, mapped=False)
            checkpoints.restore(initial, lambda step: checksum_of_steps(workdir, step))
    assert (workdir / 'damaged' / '8').is_dir()
    assert not (workdir / 'checkpoints' / '8').exists()


def test_a_training_set_that_is_made_again_leaves_the_config_as_it_is(stopped):
    workdir, config = stopped
    before = (workdir / 'config.json').read_bytes()
    (workdir / 'training_set.npz').unlink()
    config.checkpoint_every += 1
    claim_workdir(workdir, config, construct(config, sources.load(config.data).pretrain))
    assert (workdir / 'training_set.npz').exists()
    assert (workdir / 'config.json').read_bytes() == before
