import pytest

from tests.processes import command


def test_the_command_writes_and_prints(runs, tmp_path):
    done = command(
        'report',
        f'{runs}/plain',
        f'{runs}/margin',
        f'--out={tmp_path}/out',
        '--baseline=pairs.margin=0.1',
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'report.md',
        'report.csv',
        'report.html',
    }
    assert '| 2: baseline' in done.stdout
    assert '1: pairs.select=none, pairs.margin=0 | -15.00 [—] (2)' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--out=x'], 'RUNS: missing'),
        (['runs'], '--out'),
        (['nowhere', '--out=x'], 'nowhere: no such folder'),
    ],
)
def test_the_command_says_what_it_needs(arguments, words):
    done = command('report', *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_other_commands_still_take_flags_alone():
    done = command('score', 'runs')
    assert done.returncode == 1
    assert done.stderr == "error: unexpected argument 'runs'; flags are written --name=value\n"
