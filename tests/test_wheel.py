"""The wheel alone, in an empty folder: configs, grids and commands."""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax.config.shipped import config_file, with_config_files
from tests.reporting.runs import write_run

ROOT = Path(__file__).parents[1]
BUILT_FROM = ('contrastive_jax', 'configs', 'launch')
FILES = ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE')


def test_setup_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    listed = setup['options']['packages'].split()
    folders = {path.parent for path in (ROOT / 'contrastive_jax').rglob('*.py')}
    names = {'.'.join(folder.relative_to(ROOT).parts) for folder in folders}
    beside = {'contrastive_jax.configs', 'contrastive_jax.launch', 'contrastive_jax.launch.grids'}
    assert set(listed) == names | beside
    assert len(listed) == len(set(listed))


def test_a_path_wins_over_the_config_that_comes_with_the_package(tmp_path, monkeypatch):
    shipped = str(ROOT / 'configs' / 'digits.py')
    monkeypatch.chdir(tmp_path)
    assert config_file('digits') == config_file('configs/digits.py') == shipped
    assert config_file('digits:small') == f'{shipped}:small'
    for other in ('nothing', 'folder/digits.py', 'digits.py', '../digits', '', ':small'):
        assert config_file(other) == other
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'digits.py').touch()
    assert config_file('configs/digits.py:small') == 'configs/digits.py:small'
    assert config_file('digits') == shipped
    given = ['main', '--config', 'digits', '--config=cifar:small', '--seed=digits', '--x']
    assert with_config_files(given) == [
        *('main', '--config', shipped, f'--config={ROOT / "configs" / "cifar.py"}:small'),
        *given[-2:],
    ]


def test_help_lists_the_commands():
    command = [sys.executable, '-m', 'contrastive_jax', '--help']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'Commands: main, score, ' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [([], 'error: no command; give one of main, '), (['scores'], 'error: scores: no such command')],
)
def test_a_command_that_is_not_there_is_refused(arguments, words):
    command = [sys.executable, '-m', 'contrastive_jax', *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(words)
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The programs of an environment that has the wheel, and of us no more than that."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, folder / 'source' / name)
    for name in FILES:
        shutil.copy(ROOT / name, folder / 'source' / name)
    build = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '-q', '-w', folder, '.']
    subprocess.run(build, cwd=folder / 'source', check=True)
    (wheel,) = folder.glob('*.whl')
    venv.create(folder / 'venv', with_pip=False, symlinks=True)
    python = folder / 'venv' / 'bin' / 'python'
    code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    site = subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout
    # What we depend on, from the environment of the tests. Its own .pth files are not read there,
    # so that a checkout installed in it stays unknown.
    Path(site.strip(), 'dependencies.pth').write_text(sysconfig.get_path('purelib'))
    install = [sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-deps']
    subprocess.run([*install, '--ignore-installed', wheel], check=True)
    return python.parent


@pytest.fixture
def run(installed, tmp_path):
    """Runs a program of that environment in an empty folder, and returns what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}

    def run(*command):
        done = subprocess.run(
            [installed / command[0], *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.ci
def test_the_wheel_alone_scores_and_makes_pages(run, tmp_path):
    """The pages need the scripts and styles that the wheel brings."""
    np.save(tmp_path / 'x.npy', np.random.default_rng(0).normal(size=(60, 4)))
    run('contrastive-jax', 'score', '--features=x.npy', '--out=scores')
    run('contrastive-jax', 'atlas', '--features=x.npy', '--scores=scores/scores.npz', '--map=pca')
    assert 'function connect(' in (tmp_path / 'atlas.html').read_text()
    write_run(tmp_path / 'run')
    run('contrastive-jax', 'report', 'run', '--out=report')
    assert '<table' in (tmp_path / 'report' / 'report.html').read_text()


@pytest.mark.slow
def test_the_wheel_alone_trains_in_an_empty_folder(installed, run, tmp_path):
    where = run('python', '-c', 'import contrastive_jax; print(contrastive_jax.__file__)')
    assert Path(where).is_relative_to(installed.parent)
    run('python', '-m', 'contrastive_jax.main', '--config=digits:small', '--workdir=run')
    assert (tmp_path / 'run' / 'encoder.safetensors').is_file()
    run('contrastive-jax', 'score', '--workdir=run')
    run('contrastive-jax', 'bounds', '--workdir=run', '--images=200', '--out=bounds.png')
    longer = ('--config.extend=run', '--config.epochs=3', '--workdir=longer')
    run('contrastive-jax', 'main', '--config=configs/digits.py:small', *longer)
    code = 'import contrastive_jax; print(contrastive_jax.load_encoder("run").num_features)'
    assert run('python', '-c', code) == '512\n'
    run('contrastive-jax', 'views', '--config=configs/digits.py', '--out=views.png')
    assert (tmp_path / 'views.png').is_file()
    grid = ('--grid=table1', '--config=digits', '--seeds=1', '--runs=runs', '--dry_run')
    module = run('python', '-m', 'contrastive_jax.launch.sweep', *grid)
    assert '-m contrastive_jax.main --config=digits' in module
    assert run('contrastive-jax', 'sweep', *grid) == module
