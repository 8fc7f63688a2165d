import json
from types import SimpleNamespace

import pytest

from contrastive_jax.errors import UserError
from launch.cells import cells_of
from launch.planning import plan
from studies import verifier


def _run(folder, seed, made_with=None, mixed=0.0):
    (folder / 'verify').mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps({'seed': seed, 'mixed': {'ratio': mixed}}))
    if made_with:
        (folder / 'verify' / 'verify.json').write_text(json.dumps(made_with))
    return folder


@pytest.fixture
def verified(monkeypatch):
    calls = []
    monkeypatch.setattr(
        verifier.verify, 'run', lambda workdir, out, **options: calls.append((workdir, options))
    )
    return calls


def test_runs_whose_last_file_is_missing_are_verified(tmp_path, verified):
    made_with = {'steps': 10, 'seed': 1, 'neighbours': 0}
    whole, part = (_run(tmp_path / name, 1, made_with) for name in ('whole', 'part'))
    new = _run(tmp_path / 'new', 2)
    (whole / 'verify' / 'scores.npz').touch()
    verifier.verify_all([whole, part, new], 10)
    options = {'controls': True, 'overwrite': True}
    assert verified == [
        (part, made_with | options),
        (new, made_with | {'seed': 2} | options),
    ]


@pytest.mark.parametrize(
    ('name', 'value'),
    [('steps', 20), ('seed', 0), ('neighbours', 5), ('all', True), ('controls', False)],
)
def test_a_run_that_was_verified_in_another_way_is_refused(name, value, tmp_path, verified):
    made_with = {'steps': 10, 'seed': 1, 'neighbours': 0, 'all': False, 'controls': True}
    new, other = _run(tmp_path / 'new', 1), _run(tmp_path / 'b', 1, made_with | {name: value})
    (other / 'verify' / 'scores.npz').touch()
    with pytest.raises(SystemExit, match=rf'b: .* {name}={value}, not {name}={made_with[name]};'):
        verifier.verify_all([new, other], 10)
    assert not verified


def test_scores_alone_serve_mixed_images(tmp_path, verified):
    made_with = {'steps': 10, 'seed': 1, 'neighbours': 0, 'all': False, 'controls': False}
    mixed = _run(tmp_path / 'mixed', 1, made_with, mixed=0.1)
    (mixed / 'verify' / 'scores.npz').touch()
    verifier.verify_all([mixed], 10)
    assert not verified


@pytest.mark.parametrize('tables', [{}, {'train': {'instance': {}}, 'test': {'instance': {}}}])
def test_a_run_without_tables_of_classes_is_refused(tables, tmp_path):
    run = _run(tmp_path / 'run', 1, tables)
    (run / 'verify' / 'verify.json').write_text(json.dumps(tables))
    with pytest.raises(UserError, match='no table of the classes of train images'):
        verifier.tables(run)


def test_a_run_without_labels_is_refused(tmp_path):
    whole = SimpleNamespace(labels=None)
    run = SimpleNamespace(construction=SimpleNamespace(whole=whole))
    with pytest.raises(UserError, match='no labels'):
        verifier.in_band(run, tmp_path)


def test_what_a_sweep_has_verified_is_accepted(tmp_path, verified):
    runs = plan(cells_of('verifier'), 'configs/digits.py', [3], tmp_path, {})
    full = next(run for run in runs if 'full' in run.cells)
    options = dict(word.removeprefix('--').split('=') for word in full.commands[-1][3:-1])
    made_with = {'steps': 1000, 'seed': int(options.get('seed', 0)), 'neighbours': 0}
    _run(full.folder, 3, made_with)
    (full.folder / 'verify' / 'scores.npz').touch()
    verifier.verify_all([full.folder], 1000)
    assert not verified
