import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('command', 'arguments', 'words'),
    [
        ('score', ['--workdir=x', '--out='], '--out: is empty; give a path'),
        ('report', ['x', '--out='], '--out: is empty; give a path'),
        ('verify', ['--workdir='], '--workdir: is empty; give a path'),
        ('report', ['', '--out=x'], 'an argument: is empty; give a path'),
        ('verify', ['--workdir=x', f'--seed={2**63}'], 'seed'),
    ],
)
def test_flags_that_cannot_be_meant_are_one_line(tmp_path, command, arguments, words):
    done = subprocess.run(
        [sys.executable, '-m', f'contrastive_jax.{command}', *arguments],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith('error: ')
    assert words in done.stderr
    assert done.stderr.count('\n') == 1
    assert not list(tmp_path.glob('*.*'))


def test_a_reader_may_leave_early():
    # More than a pipe holds, so that the command meets the closed end while it writes.
    program = (
        "import sys; sys.argv = ['fields']; from contrastive_jax.runtime import cli; "
        "cli.run(lambda: print('x' * 10_000_000))"
    )
    with subprocess.Popen(
        [sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        command.stdout.close()
        assert command.stderr.read() == ''
    assert command.returncode == 141


def test_a_reader_of_help_may_leave_early():
    with subprocess.Popen(
        [sys.executable, '-m', 'contrastive_jax.report', '--help'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        command.stdout.close()
        assert command.stderr.read() == ''
    assert command.returncode == 141
