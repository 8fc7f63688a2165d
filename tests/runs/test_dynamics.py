"""Axes: l looks, n monitored images."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import Samples, dynamics_columns
from contrastive_jax.runs.dynamics import ScoreLog, read_dynamics

INDICES = np.array([1, 4, 5])


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({'seed': 0}))
    return tmp_path


def _written(workdir, epochs, start=0):
    log = ScoreLog(workdir, INDICES, start)
    for epoch in epochs:
        log.add(epoch, jnp.array([0.1, 0.2, 0.3]) + epoch / 100)
    log.save()


def test_looks_are_added_and_those_after_the_start_are_taken_again(workdir):
    _written(workdir, [2, 4, 6])
    unbroken = (workdir / 'dynamics.npz').read_bytes()
    found = read_dynamics(workdir)
    assert found.epochs.tolist() == [2, 4, 6]
    assert found.score.dtype == np.float32
    np.testing.assert_allclose(found.score[1], [0.14, 0.24, 0.34], rtol=1e-6)
    # From a checkpoint of epoch 5, and from none.
    for start, again in ((5, [6]), (0, [2, 4, 6])):
        _written(workdir, again, start)
        assert read_dynamics(workdir).epochs.tolist() == [2, 4, 6]
    with np.load(workdir / 'dynamics.npz') as file:
        np.testing.assert_array_equal(file['score'], found.score)
    assert len((workdir / 'dynamics.npz').read_bytes()) == len(unbroken)


def test_a_look_within_an_epoch_gives_way_to_the_one_at_its_end(workdir):
    _written(workdir, [2])
    log = ScoreLog(workdir, INDICES, 2)
    log.add(2, jnp.array([0.5, 0.6, 0.7]))
    log.save()
    found = read_dynamics(workdir)
    assert found.epochs.tolist() == [2]
    np.testing.assert_allclose(found.score, [[0.5, 0.6, 0.7]], rtol=1e-6)


def test_without_a_new_look_nothing_is_written(workdir):
    ScoreLog(workdir, INDICES, 0).save()
    assert not (workdir / 'dynamics.npz').exists()


def test_a_longer_run_keeps_the_looks_of_the_run_that_it_extends(workdir, tmp_path, capsys):
    _written(workdir, [2, 4])
    longer = tmp_path / 'longer'
    longer.mkdir()
    (longer / 'config.json').write_text(json.dumps({'seed': 0, 'epochs': 8}))
    for _ in range(2):
        # Once from the other folder, then from its own.
        log = ScoreLog(longer, INDICES, 4, workdir)
        log.add(6, jnp.array([0.5, 0.6, 0.7]))
        log.save()
        found = read_dynamics(longer)
        assert found.epochs.tolist() == [2, 4, 6]
        np.testing.assert_array_equal(found.score[:2], read_dynamics(workdir).score)
    # Also where this run was stopped before a look of its own, and the other folder is gone.
    (longer / 'dynamics.npz').unlink()
    ScoreLog(longer, INDICES, 4, workdir)
    ScoreLog(longer, INDICES, 4, tmp_path / 'gone')
    assert read_dynamics(longer).epochs.tolist() == [2, 4]
    (longer / 'dynamics.npz').unlink()
    log = ScoreLog(longer, INDICES[:2], 4, workdir)
    assert 'looked at other images' in capsys.readouterr().err
    log.add(6, jnp.array([0.5, 0.6]))
    log.save()
    assert read_dynamics(longer).epochs.tolist() == [6]


def test_the_file_of_another_run_is_refused_and_kept(workdir):
    _written(workdir, [2])
    before = (workdir / 'dynamics.npz').read_bytes()
    with pytest.raises(UserError, match=r'3 images, and config\.monitor\.images=2 chooses others'):
        ScoreLog(workdir, INDICES[:2], 2)
    (workdir / 'config.json').write_text(json.dumps({'seed': 1}))
    for read in (lambda: ScoreLog(workdir, INDICES, 2), lambda: read_dynamics(workdir)):
        with pytest.raises(UserError, match=r'belongs to another run.*move it away'):
            read()
    assert (workdir / 'dynamics.npz').read_bytes() == before


@pytest.mark.parametrize('content', [b'', b'no zip file', {'score': np.ones(3)}])
def test_a_damaged_file_is_refused(workdir, content):
    path = workdir / 'dynamics.npz'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(UserError, match=r'cannot be read|no file of a monitor'):
        read_dynamics(workdir)


def test_columns_are_in_the_order_of_the_samples_and_empty_elsewhere(workdir, capsys):
    with pytest.raises(UserError, match=r'missing; a run writes it with config\.monitor'):
        dynamics_columns(workdir, _samples([0]))
    _written(workdir, [2, 4])
    columns = dynamics_columns(workdir, _samples([5, 0, 1, 7]))
    mean = columns['dynamics_mean']
    np.testing.assert_allclose(mean[[0, 2]], [0.33, 0.13], rtol=1e-5)
    assert np.isnan(mean[[1, 3]]).all()
    assert columns['dynamics_last_entry'][0] == 2
    assert columns['dynamics_learnability'][[0, 2]].tolist() == [0, 1]
    assert 'dynamics: 2 of 4 samples, 2 looks up to epoch 4; NaN for' in capsys.readouterr().err


def _samples(index):
    features = np.ones((len(index), 2), np.float32)
    return Samples(features, None, (), None, 'samples', index=np.array(index))
