import io
import os
import subprocess
import sys

import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.runtime import shell


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')


@pytest.mark.parametrize(
    ('argument', 'expanded'),
    [
        ('--workdir=~/runs/a', '--workdir=/home/me/runs/a'),
        ('--config.data.data_dir=~', '--config.data.data_dir=/home/me'),
        ('~/runs', '/home/me/runs'),
        ('--out=./~', '--out=./~'),
        ('--out=a~b', '--out=a~b'),
        ('--baseline=pairs.select=none', '--baseline=pairs.select=none'),
        ('runs', 'runs'),
    ],
)
def test_the_home_folder_stands_for_its_sign(argument, expanded, home):
    assert shell.expand_home(argument) == expanded


def test_an_unknown_home_folder_is_refused(home):
    with pytest.raises(UserError, match=r'--out=~nobody-of-that-name/x: the home folder'):
        shell.expand_home('--out=~nobody-of-that-name/x')


def test_characters_that_a_log_lacks_are_escaped(monkeypatch):
    log = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', log)
    shell.escape_missing_characters()
    print('90.0 ± 1.2')
    log.flush()
    assert log.buffer.getvalue() == b'90.0 \\xb1 1.2\n'


def test_commands_expand_paths_and_escape_characters(tmp_path):
    """In flags, in config fields, in the config file and among the arguments."""
    (tmp_path / 'digits.py').write_text(
        'from contrastive_jax.config import default\n\n\n'
        'def get_config():\n'
        '    config = default()\n'
        "    config.data.data_dir = '~/data'\n"
        '    return config\n'
    )
    program = tmp_path / 'program.py'
    program.write_text(
        'from absl import flags\n'
        'from ml_collections import config_flags\n'
        'from contrastive_jax.runtime import cli\n'
        "config = config_flags.DEFINE_config_file('config')\n"
        "out = flags.DEFINE_string('out', None, '')\n"
        'def command(*rest):\n'
        '    paths = config.value.data.data_dir, config.value.removal.scores\n'
        "    print('±', out.value, *paths, *rest)\n"
        'cli.run(command, positional=True)\n'
    )
    flags = ['--config=~/digits.py', '--config.removal.scores=~/scores.npz', '--out=~/x', '~/run']
    done = subprocess.run(
        [sys.executable, str(program), *flags],
        capture_output=True,
        text=True,
        env=os.environ
        | {'HOME': str(tmp_path), 'PYTHONIOENCODING': 'ascii', 'PYTHONPATH': os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
    expected = ['x', 'data', 'scores.npz', 'run']
    assert done.stdout.split() == ['\\xb1', *(str(tmp_path / name) for name in expected)]
