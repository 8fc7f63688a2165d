import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

import contrastive_jax
from contrastive_jax.runs import provenance
from contrastive_jax.runs.provenance import git_commit, versions

ROOT = Path(__file__).parents[2]


def _git(*arguments):
    done = subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_checkout_knows_its_commit():
    assert git_commit().removesuffix('-dirty') == _git('rev-parse', 'HEAD')


def test_an_archive_knows_its_commit(tmp_path):
    _git('archive', f'--output={tmp_path / "code.tar"}', 'HEAD')
    subprocess.run(['tar', '-xf', 'code.tar'], cwd=tmp_path, check=True)
    program = 'from contrastive_jax.runs import provenance as p; print(p.__file__, p.git_commit())'
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    file, commit = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert commit == _git('rev-parse', 'HEAD')


@pytest.mark.parametrize('left_out', [(), ('COMMIT',)], ids=['whole', 'modules alone'])
def test_a_repository_around_an_installed_package_is_not_its_own(left_out, tmp_path):
    """A virtual environment often lies in the repository of the work that uses it."""
    shutil.copytree(
        ROOT / 'contrastive_jax',
        tmp_path / 'venv' / 'contrastive_jax',
        ignore=shutil.ignore_patterns('__pycache__', *left_out),
    )
    git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b']
    for arguments in (['init', '-q'], ['commit', '-q', '--allow-empty', '-m', 'theirs']):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    program = 'from contrastive_jax.runs import provenance as p; print(p.__file__, p.git_commit())'
    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=tmp_path / 'venv',
        capture_output=True,
        text=True,
        check=True,
    )
    file, commit = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert commit == 'None'


def test_a_checkout_that_is_not_installed_knows_its_versions(monkeypatch):
    """Python has no metadata of such a package, and a run would end after all its training."""

    def version(name, of=metadata.version):
        if name == 'contrastive_jax':
            raise metadata.PackageNotFoundError(name)
        return of(name)

    monkeypatch.setattr(metadata, 'version', version)
    found = versions()
    assert found['contrastive_jax'] == contrastive_jax.__version__
    assert found['jax'] == jax.__version__


@pytest.mark.parametrize(
    ('text', 'place', 'commit'),
    [
        ('{"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "abc"}}', ROOT, 'abc'),
        ('{"url": "https://x", "vcs_info": {"commit_id": "abc"}}', ROOT / 'elsewhere', None),
        ('{"url": "file:///x", "dir_info": {}}', ROOT, None),
        ('damaged', ROOT, None),
        (None, ROOT, None),
    ],
)
def test_what_pip_has_installed_from_a_repository_names_its_commit(
    monkeypatch, text, place, commit
):
    package = SimpleNamespace(
        read_text={'direct_url.json': text}.get, locate_file=lambda name: place / name
    )
    monkeypatch.setattr(metadata, 'distribution', {'contrastive_jax': package}.get)
    assert provenance._installed_from() == commit
