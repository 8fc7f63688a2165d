"""The Python way in: what `import contrastive_jax` brings, and the examples in its docstrings."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import contrastive_jax
from configs.digits import get_config
from tests.helpers import portable_run

ROOT = Path(__file__).parents[1]


def _documented():
    for name in contrastive_jax.__all__:
        found = getattr(contrastive_jax, name)
        # Tests check signatures by wrapping what is public.
        yield name, getattr(found, '__wrapped__', found)
    from contrastive_jax.runs.encoder import Encoder

    yield 'Encoder.__call__', Encoder.__call__


def test_every_public_name_is_there_and_listed():
    assert set(contrastive_jax.__all__) <= set(dir(contrastive_jax))
    for name in contrastive_jax.__all__:
        assert getattr(contrastive_jax, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'load_encoders'"):
        contrastive_jax.load_encoders  # noqa: B018


def test_names_that_are_imported_on_first_use_are_all_there():
    for name in ('contrastive_jax', 'contrastive_jax.evaluation', 'contrastive_jax.training'):
        package = importlib.import_module(name)
        assert set(package.__all__) <= set(dir(package))
        assert all(hasattr(package, public) for public in package.__all__)


def test_importing_the_package_imports_no_jax():
    code = 'import contrastive_jax, sys; dir(contrastive_jax); print("jax" in sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == 'False\n'


def test_the_examples_in_docstrings_run(tmp_path, monkeypatch):
    portable_run(tmp_path / 'runs' / 'digits', get_config(), shape=(8, 8, 1))
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner()
    for name, function in _documented():
        (test,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
        assert test.examples, name
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
