"""Runs that begin with the weights of an encoder, or where another run ended."""

import contextlib
import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from contrastive_jax import main
from contrastive_jax.config import resolve
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.errors import UserError
from contrastive_jax.models import Moments
from contrastive_jax.models.portable import named_arrays
from contrastive_jax.runs import start
from contrastive_jax.runs.names import ENCODER
from contrastive_jax.runs.weights import read_weights
from contrastive_jax.runs.workdir import check_workdir
from contrastive_jax.runtime.preemption import Preempted
from contrastive_jax.training.setup import set_up
from tests.helpers import small_config, write_npz
from tests.processes import metrics

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A finished run `old` of 8 steps, and its images; without labels, which cost probes."""
    folder = tmp_path_factory.mktemp('start')
    write_npz(folder / 'data.npz', labels=False)
    main.run(_config(folder, checkpoint_every=5), folder / 'old')
    return folder


@pytest.fixture
def old(folder, tmp_path):
    """A copy of it that may be spoilt."""
    shutil.copytree(folder / 'old', tmp_path / 'old')
    return tmp_path / 'old'


def _config(folder, **changes):
    data = {'data__name': 'npz', 'data__data_dir': str(folder / 'data.npz')}
    return small_config(**data | {'epochs': 4, 'optimizer__name': 'adamw'} | changes)


def _start(config, workdir):
    return start.read_start(config, workdir, construct(config, sources.load(config.data).pretrain))


def _content(folder):
    """Checksum and time of change of every file."""
    files = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return {
        path: (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns)
        for path in files
    }


@pytest.fixture
def run_until(monkeypatch):
    """Runs what a config describes until the process is told to stop after a step."""

    def run(config, workdir, step):
        with monkeypatch.context() as patch:
            noting = contextlib.nullcontext(lambda finished: finished == step)
            patch.setattr(main.preemption, 'noting', lambda: noting)
            with pytest.raises(Preempted):
                main.run(config, workdir)

    return run


@pytest.mark.ci
def test_a_run_begins_with_the_encoder_of_another_and_resumes_without_it(
    folder, old, tmp_path, run_until, capsys
):
    trained = load_file(old / ENCODER)
    config = _config(folder, epochs=2, seed=3, init=str(old / ENCODER), checkpoint_keep=4)
    run_until(config, tmp_path / 'broken', 2)
    assert 'left out, and begun anew: projector, optimiser' in capsys.readouterr().out
    main.run(config, tmp_path / 'whole')
    shutil.rmtree(old)
    result = main.run(config, tmp_path / 'broken')
    assert result['start']['init'] == config.init
    assert result['start']['step'] == 8
    assert metrics(tmp_path / 'broken') == metrics(tmp_path / 'whole')
    # Four steps of a small rate leave the weights near those that the run began with.
    ours = load_file(tmp_path / 'whole' / ENCODER)
    resumed = load_file(tmp_path / 'broken' / ENCODER)
    own = set_up(config, Moments((0.5,), (0.25,)), 2).initial
    for name, drawn in named_arrays(own.params).items():
        if name.startswith('projector'):  # the file is without it
            continue
        np.testing.assert_array_equal(ours[name], resumed[name])
        if name.endswith('kernel'):
            distances = [np.linalg.norm(ours[name] - other) for other in (trained[name], drawn)]
            assert distances[0] < distances[1] / 2


@pytest.mark.ci
def test_a_momentum_encoder_begins_as_the_encoder_does(folder, tmp_path):
    config = _config(folder, moco__queue_size=32, init=str(folder / 'old'))
    graphdef, initial, *_ = set_up(config, Moments((0.5,), (0.25,)), 2)
    begun = _start(config, tmp_path / 'new')
    state = begun.begin(graphdef, initial)
    trained = load_file(folder / 'old' / ENCODER)
    drawn, first = (
        named_arrays(each.params) | named_arrays(each.stats) for each in (initial, state)
    )
    for name, array in first.items():
        expected = drawn if name.startswith('projector') else trained
        np.testing.assert_array_equal(array, expected[name])
    jax.tree.map(np.testing.assert_array_equal, state.extra.params, state.params)
    assert jax.tree.structure(state) == jax.tree.structure(initial)
    assert begun.step == int(state.step) == 0


@pytest.mark.parametrize(
    ('changes', 'spoil', 'words'),
    [
        ({}, lambda path: path.write_bytes(path.read_bytes()[:-9]), 'only a part of one'),
        ({}, lambda path: save_file(load_file(path), path), 'of something else'),
        (
            {},
            lambda path: path.write_bytes(
                path.read_bytes().replace(b'"format_version":"1"', b'"format_version":"7"')
            ),
            'has format version 7',
        ),
        ({}, lambda path: path.unlink(), 'cannot be read'),
        ({'model__width': 5}, None, r'encoder\.layers\.0\.conv\.kernel is float32 \[3, 3, 1, 4\]'),
        ({'model__name': 'resnet18'}, None, r'encoder\.\S+ is missing'),
    ],
)
def test_an_encoder_that_cannot_be_taken_is_refused_in_one_line(
    folder, old, tmp_path, changes, spoil, words
):
    if spoil:
        spoil(old / ENCODER)
    config = _config(folder, init=str(old / ENCODER), **changes)
    with pytest.raises(UserError, match=words) as caught:
        main.run(config, tmp_path / 'new')
    assert str(caught.value).startswith(f'config.init={config.init!r}: ')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'new').exists()


def test_an_encoder_with_more_layers_is_refused(folder, tmp_path, monkeypatch):
    weights = read_weights(folder / 'old' / ENCODER)
    params = {**weights.params, 'top': np.zeros(3, np.float32)}
    monkeypatch.setattr(start, 'load_weights', lambda path: weights._replace(params=params))
    with pytest.raises(UserError, match='the model of this config has no top; give the config'):
        _start(_config(folder, init='deep'), tmp_path / 'new')


def test_a_run_that_trains_gives_its_newest_encoder(folder, tmp_path, run_until, capsys):
    running = _config(folder)
    run_until(running, tmp_path / 'running', 3)
    begun = _start(_config(folder, init=str(tmp_path / 'running')), tmp_path / 'new')
    assert '(step 3)' in begun.line
    with pytest.raises(UserError, match=r'config\.extend=.*: has not finished'):
        main.run(_config(folder, epochs=6, extend=str(tmp_path / 'running')), tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


@pytest.mark.ci
def test_a_finished_run_goes_on_to_more_epochs(folder, old, tmp_path, run_until, capsys):
    config = _config(folder, epochs=6, extend=str(old), checkpoint_keep=8)
    before = _content(old)
    main.run(config, tmp_path / 'whole')
    assert _content(old) == before
    said = capsys.readouterr().out
    assert f'goes on where {old} ended, after step 8, to step 12; the learning rate was' in said
    run_until(config, tmp_path / 'broken', 10)
    shutil.rmtree(old)
    result = main.run(config, tmp_path / 'broken')
    assert (result['steps'], result['epochs']) == (12, 6)
    assert result['start'] == {'extend': str(old), 'step': 8}
    log = metrics(tmp_path / 'whole')
    assert log == metrics(tmp_path / 'broken')
    assert log[:8] == metrics(folder / 'old')
    assert [line['step'] for line in log] == list(range(1, 13))
    rates = [line['learning_rate'] for line in log]
    schedule = set_up(config, Moments((0.5,), (0.25,)), 2).schedule
    np.testing.assert_allclose(rates[8:], [schedule(step) for step in range(8, 12)], rtol=1e-6)
    assert f'is {rates[8]:.3g} in the next one' in said
    # The state that it began with is the last one of the old run, with its optimiser.
    ends = [load_file(tmp_path / name / ENCODER) for name in ('whole', 'broken')]
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name])
    states = [path / 'checkpoints' / '8' for path in (folder / 'old', tmp_path / 'whole')]
    sums = [json.loads((state / '_CHECKPOINT_METADATA').read_text()) for state in states]
    assert sums[0]['custom_metadata'] == sums[1]['custom_metadata']


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'epochs': 4}, r'has taken 8 steps, and config\.epochs=4 is 8; give more'),
        ({'steps': 7}, r'has taken 8 steps, and config\.steps=7 is 7; give more'),
        ({'seed': 1}, r'by another config \(seed: 0 there, 1 here\); give the same'),
        ({'init': 'x.safetensors'}, r'config\.init=.*: has no effect with config\.extend='),
    ],
)
def test_what_cannot_be_extended_is_refused_in_one_line(folder, tmp_path, changes, words):
    config = _config(folder)
    config.update(extend=str(folder / 'old'), epochs=6)
    config.update(changes)
    with pytest.raises(UserError, match=words) as caught:
        main.run(config, tmp_path / 'new')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'new').exists()


def test_an_old_run_that_is_no_longer_whole_is_not_extended(folder, old, tmp_path):
    config = _config(folder, epochs=6, extend=str(old))
    with pytest.raises(UserError, match=r'is in config\.extend=.*, which is never written'):
        main.run(config, old / 'more')
    data = np.load(folder / 'data.npz')
    np.savez(tmp_path / 'data.npz', **{name: 255 - array for name, array in data.items()})
    others = _config(tmp_path, epochs=6, extend=str(old))
    stored = json.loads((old / 'config.json').read_text())
    stored['data']['data_dir'] = others.data.data_dir
    (old / 'config.json').write_text(json.dumps(stored))
    (old / 'SHA256SUMS').unlink()
    with pytest.raises(UserError, match='begun with other images'):
        main.run(others, tmp_path / 'new')
    shutil.copytree(folder / 'old', old, dirs_exist_ok=True)
    shutil.rmtree(old / 'checkpoints' / '8')
    with pytest.raises(UserError, match='its checkpoint of step 8 is missing'):
        main.run(config, tmp_path / 'new')
    (old / 'result.json').unlink()
    with pytest.raises(UserError, match='has not finished'):
        main.run(config, tmp_path / 'new')
    shutil.rmtree(old)
    with pytest.raises(UserError, match=r'holds no config\.json'):
        main.run(config, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


@pytest.mark.ci
def test_a_lost_checkpoint_does_not_begin_the_run_anew(folder, tmp_path, run_until):
    config = _config(folder, init=str(folder / 'old'))
    run_until(config, tmp_path / 'new', 3)
    shutil.rmtree(tmp_path / 'new' / 'checkpoints')
    with pytest.raises(UserError, match='3 steps are logged, and there is no checkpoint'):
        main.run(config, tmp_path / 'new')
    assert len(metrics(tmp_path / 'new')) == 3


def test_scores_may_have_moved_and_images_may_not(folder, old):
    config, _ = resolve(_config(folder, checkpoint_every=5))
    config.removal.scores = 'elsewhere.npz'
    check_workdir(old, config)
    config.data.data_dir = 'elsewhere.npz'
    with pytest.raises(UserError, match=r'another config \(data\.data_dir: '):
        check_workdir(old, config)
