import json

import pytest

from launch.planning import cells_of, plan
from studies import verifier


def _run(folder, seed, made_with=None):
    (folder / 'verify').mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps({'seed': seed, 'mixed': {'ratio': 0.0}}))
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


@pytest.mark.parametrize(('name', 'value'), [('steps', 20), ('seed', 0), ('neighbours', 5)])
def test_a_run_that_was_verified_in_another_way_is_refused(name, value, tmp_path, verified):
    made_with = {'steps': 10, 'seed': 1, 'neighbours': 0}
    new, other = _run(tmp_path / 'new', 1), _run(tmp_path / 'b', 1, made_with | {name: value})
    (other / 'verify' / 'scores.npz').touch()
    with pytest.raises(SystemExit, match=rf'b: .* {name}={value}, not {name}={made_with[name]};'):
        verifier.verify_all([new, other], 10)
    assert not verified


def test_what_a_sweep_has_verified_is_accepted(tmp_path, verified):
    runs = plan(cells_of('verifier'), 'configs/digits.py', [3], tmp_path, {})
    full = next(run for run in runs if 'full' in run.cells)
    options = dict(word.removeprefix('--').split('=') for word in full.commands[-1][3:-1])
    made_with = {'steps': 1000, 'seed': int(options.get('seed', 0)), 'neighbours': 0}
    _run(full.folder, 3, made_with)
    (full.folder / 'verify' / 'scores.npz').touch()
    verifier.verify_all([full.folder], 1000)
    assert not verified
