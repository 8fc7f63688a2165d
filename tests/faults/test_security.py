"""What comes from others is data: nothing of it is executed, or writes where it should not."""

import ast
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax import main, score
from contrastive_jax.data import sources
from contrastive_jax.data.feature_files import read_features
from contrastive_jax.data.score_files import read_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import Options, Samples
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.workdir import locked
from contrastive_jax.runtime.files import read_arrays, write_json
from tests.helpers import small_config, state_and_step, write_npz

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')
ROOT = Path(__file__).parents[2]


class _Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def bombs(tmp_path):
    """Files that hold one: their paths, and the mark."""
    mark = tmp_path / 'executed'
    array = np.array([_Bomb(mark)], dtype=object)
    np.save(tmp_path / 'bomb.npy', array, allow_pickle=True)
    names = [f'{split}_{kind}' for split in ('train', 'test') for kind in ('images', 'labels')]
    np.savez(tmp_path / 'bomb.npz', **dict.fromkeys([*names, 'index', 'difficulty'], array))
    # It works where it is let.
    np.load(tmp_path / 'bomb.npy', allow_pickle=True)
    assert mark.exists()
    mark.unlink()
    return tmp_path / 'bomb.npy', tmp_path / 'bomb.npz', mark


def test_nothing_is_unpickled(bombs, tmp_path):
    npy, npz, mark = bombs
    of = {'n': 1, 'checksum': '', 'where': 'config.removal.scores'}
    readers = [
        lambda: read_arrays(npy),
        lambda: read_arrays(npz),
        lambda: read_features(str(npy), None),
        lambda: read_scores(str(npz), **of),
        lambda: read_scores(str(npy), **of),
        lambda: sources.load(small_config(data__name='npz', data__data_dir=str(npz)).data),
    ]
    for read in readers:
        with pytest.raises(UserError):
            read()
    assert not mark.exists()


@pytest.mark.ci
def test_a_checkpoint_is_data(bombs, tmp_path):
    data = str(write_npz(tmp_path / 'data.npz'))
    config = small_config(data__name='npz', data__data_dir=data)
    main.run(config, tmp_path / 'run')
    mark = bombs[2]
    for path in (tmp_path / 'run' / 'checkpoints').rglob('*'):
        if path.is_file():
            path.write_bytes(pickle.dumps(_Bomb(mark)))
    state, _ = state_and_step(config, channels=1, mapped=False)
    with pytest.raises(UserError, match='no checkpoint can be used'):
        Checkpoints(tmp_path / 'run').restore(state)
    assert not mark.exists()


def test_the_code_calls_nothing_that_executes_data():
    """By name: what unpickles, evaluates, or hands a text to a shell."""
    refused = {'pickle', 'dill', 'cloudpickle', 'marshal', 'shelve', 'yaml', 'joblib'}
    found = []
    for path in [*ROOT.glob('contrastive_jax/**/*.py'), *ROOT.glob('launch/**/*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, 'names', []) if hasattr(alias, 'name')]
            if isinstance(node, ast.Import | ast.ImportFrom) and refused & {
                name.split('.')[0] for name in [*names, getattr(node, 'module', None) or '']
            }:
                found.append(f'{path}:{node.lineno}')
            if isinstance(node, ast.keyword) and node.arg in ('shell', 'allow_pickle'):
                value = getattr(node.value, 'value', True)
                found += [f'{path}:{node.value.lineno}'] if value else []
            called = getattr(node, 'func', None)
            if isinstance(called, ast.Name) and called.id in ('eval', 'exec', 'compile'):
                found.append(f'{path}:{node.lineno}')
            if isinstance(called, ast.Attribute) and called.attr in ('system', 'popen'):
                found.append(f'{path}:{node.lineno}')
    assert found == []


@pytest.mark.ci
def test_no_class_name_writes_outside_the_folder(tmp_path):
    names = ('../../evil', '/tmp/evil-of-contrastive-jax', '..', 'a\nb', '%s')
    rng = np.random.default_rng(0)
    n = 15 * len(names)
    samples = Samples(
        rng.normal(size=(n, 4)).astype(np.float32),
        np.arange(n) % len(names),
        names,
        rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8),
        'made up',
        0,
    )
    out = tmp_path / 'one' / 'two' / 'out'
    score.run(samples, Options(), out)
    written = {path for path in tmp_path.rglob('*') if path.is_file()}
    assert written
    assert all(out in path.parents for path in written)
    assert not Path('/tmp/evil-of-contrastive-jax').exists()


def test_what_is_written_follows_no_link(tmp_path, monkeypatch):
    monkeypatch.setattr('secrets.token_hex', lambda size: '01234567'[: 2 * size])
    outside = tmp_path / 'outside'
    outside.write_text('precious')
    folder = tmp_path / 'run'
    folder.mkdir()
    for name in ('lock', 'result.json', 'result.json.01234567.part'):
        (folder / name).symlink_to(outside)
    with pytest.raises(FileExistsError):
        write_json(folder / 'result.json', {'seed': 0})
    assert outside.read_text() == 'precious'
    write_json(folder / 'result.json', {'seed': 0})
    assert not (folder / 'result.json').is_symlink()
    with pytest.raises(UserError, match='cannot be written'), locked(folder):
        pass
    assert outside.read_text() == 'precious'


def test_a_printed_command_is_quoted(tmp_path):
    evil = "a b; touch executed; $(touch executed) `touch executed` '"
    printed = subprocess.run(
        [
            *(sys.executable, '-m', 'launch.sweep', '--grid=table1', '--config=configs/digits.py'),
            *('--seeds=1', '--runs', str(tmp_path / evil), '--dry_run', '--'),
            f'--config.data.data_dir={evil}',
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    commands = [line for line in printed.splitlines() if not line.startswith('#')]
    for command in commands:
        words = shlex.split(command)
        assert any(word == f'--config.data.data_dir={evil}' for word in words), words
        # As a shell takes it.
        echoed = subprocess.run(
            ['bash', '-c', f'printf "%s\\n" {command}'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert echoed.splitlines() == words
    assert commands
    assert not list(tmp_path.rglob('executed'))
