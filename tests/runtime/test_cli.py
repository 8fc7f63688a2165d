import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.cli import check_company
from tests import processes
from tests.marks import in_ci

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('command', 'arguments', 'words'),
    [
        ('score', ['--workdir=x', '--out='], '--out: is empty; give a path'),
        ('report', ['x', '--out='], '--out: is empty; give a path'),
        *in_ci(
            ('verify', ['--workdir='], '--workdir: is empty; give a path'),
            ('report', ['', '--out=x'], 'an argument: is empty; give a path'),
            ('verify', ['--workdir=x', f'--seed={2**63}'], 'seed'),
        ),
        ('score', ['--workdir=x', '--labels=y.npy'], '--labels: goes with --features'),
        ('export', ['--workdir=x', '--out=y'], '--format: missing; for example python -m contr'),
        *in_ci(
            (
                'main',
                [],
                '--workdir, --config: missing; for example python -m contrastive_jax.main',
            ),
            ('main', ['--arm=margin'], "flag 'arm'; did you mean --config.arm?"),
        ),
        ('atlas', ['--workdir=x', '--scores=y'], '--scores: goes with --features'),
        (
            'bounds',
            ['--features=x', '--alpha=1'],
            'with --features this number is',
        ),
    ],
)
def test_flags_that_cannot_be_meant_are_one_line(tmp_path, command, arguments, words):
    environ = {'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)}
    done = processes.command(command, *arguments, cwd=tmp_path, env=environ)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ')
    assert words in done.stderr
    assert done.stderr.count('\n') == 1
    # What was compiled before is looked for there.
    assert {path.name for path in tmp_path.iterdir()} <= {'.cache'}


def test_help_is_no_error():
    done = processes.command('report', '--help')
    assert done.returncode == 0
    assert '--baseline' in done.stdout


def test_a_config_file_that_ends_the_program_is_no_call_for_help(tmp_path):
    (tmp_path / 'own.py').write_text("import sys\n\ndef get_config():\n    sys.exit('set DATA')\n")
    environ = {'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)}
    arguments = ['--config=own.py', '--workdir=run']
    done = processes.command('main', *arguments, cwd=tmp_path, env=environ)
    assert (done.returncode, done.stderr) == (1, 'set DATA\n')


def test_too_little_memory_is_one_line(tmp_path):
    program = """
from contrastive_jax.runtime import cli

def command():
    raise MemoryError('Unable to allocate 763. GiB for an array')

cli.run(command)
"""
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    expected = 'error: out of memory (Unable to allocate 763. GiB for an array); give less data'
    assert done.stderr == f'{expected}, or more memory\n'


def test_a_flag_that_needs_another_is_refused_alone():
    values = flags.FlagValues()
    for name in ('workdir', 'features'):
        flags.DEFINE_string(name, None, '', flag_values=values)
    flags.DEFINE_integer('seed', 0, '', flag_values=values)
    for given in ([], ['--workdir=x', '--seed=0'], ['--features=x']):
        values.unparse_flags()
        values(['command', *given])
        check_company(values, ('seed',), ('workdir', 'features'))
    values(['command', '--seed=0'])
    values['workdir'].value = values['features'].value = None
    with pytest.raises(UserError, match='--seed: goes with --workdir or --features'):
        check_company(values, ('seed',), ('workdir', 'features'))


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


@pytest.mark.ci
def test_devices_that_are_not_there_are_one_line(tmp_path):
    arguments = ['-m', 'contrastive_jax.main', f'--config={ROOT}/configs/digits.py', '--workdir=x']
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path), 'JAX_PLATFORMS': 'nonsense'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith('error: JAX_PLATFORMS=nonsense: JAX finds no such devices here')
    assert done.stderr.count('\n') == 1


@pytest.mark.ci
def test_files_of_the_package_are_read_in_any_locale(tmp_path):
    code = (
        'import contrastive_jax.evaluation.shared\n'
        'from contrastive_jax.reporting.atlas.page import atlas_page\n'
        'from contrastive_jax.reporting.web import page\n'
        'page("title", "body", scripts=[], style="")\n'
    )
    locale = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path), **locale},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
