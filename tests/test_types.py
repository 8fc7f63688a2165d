"""The annotations hold: mypy finds no error in the package and its launchers."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.mark.ci
def test_mypy_finds_no_error():
    command = [sys.executable, '-m', 'mypy', f'--cache-dir={_ROOT / ".pytest_cache" / "mypy"}']
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
