"""How a grid is submitted to Slurm and waited for, with a fake `sbatch` and a fake `squeue`."""

import os
import shlex
import signal

import pytest

from contrastive_jax.runtime import preemption
from launch.cells import GridError
from launch.planning import Run

slurm = pytest.importorskip('launch.slurm')
submitit_utils = pytest.importorskip('submitit.core.utils')

# The queue is a file of names and numbers. What was submitted is kept, named by its number.
SBATCH = """#!/usr/bin/env bash
number=$((101 + $(ls "$FAKES" | grep -c sh$)))
cp "$1" "$FAKES/$number.sh"
echo "$(sed -n 's/^#SBATCH --job-name=//p' "$1") $number" >> "$FAKES/queue"
echo "Submitted batch job $number"
"""
SQUEUE = """#!/usr/bin/env bash
[ ! -e "$FAKES/silent" ] || exit 1
# It would hide what is asked for.
[ -z "${SQUEUE_STATES:-}" ] || exit 0
case $* in
  '--noheader --me --format=%j %i') cat "$FAKES/queue" ;;
  '--noheader --jobs=107 --format=%T') cat "$FAKES/states" ;;
  *) exit 2 ;;
esac
"""


class Cluster:
    """The queue, as the fakes have it."""

    def __init__(self, fakes, folder):
        self._fakes, self._folder = fakes, folder
        self.queue, self.silent, self.states = (
            fakes / name for name in ('queue', 'silent', 'states')
        )
        self.queue.touch()

    def script(self, number):
        """The lines of what was submitted, those for Slurm without their mark."""
        lines = (self._fakes / f'{number}.sh').read_text().splitlines()
        return [line.removeprefix('#SBATCH ') for line in lines]

    def submitted(self):
        return sorted(int(path.stem) for path in self._fakes.glob('*.sh'))

    def leave(self, name):
        """Takes a job out of the queue; returns it."""
        lines = self.queue.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f'{name} '))
        self.queue.write_text(''.join(f'{other}\n' for other in lines if other != line))
        return slurm._job(self._folder / 'slurm', line.split()[1])

    def end(self, name, outcome=None):
        """Ends a job with this outcome of submitit; without one it does what was submitted."""
        job = self.leave(name)
        outcome = outcome or ('success', job.submission().result())
        submitit_utils.cloudpickle_dump(outcome, job.paths.result_pickle)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fakes = tmp_path / 'fakes'
    fakes.mkdir()
    monkeypatch.setenv('SQUEUE_STATES', 'RUNNING')
    # submitit asks for no more of `srun` than that it is there.
    for name, text in (('sbatch', SBATCH), ('squeue', SQUEUE), ('srun', '#!/bin/sh\n')):
        (fakes / name).write_text(text)
        (fakes / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{fakes}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('FAKES', str(fakes))
    return Cluster(fakes, tmp_path)


@pytest.fixture
def meanwhile(monkeypatch):
    """What happens while the sweep waits: at each look at the queue the next of these."""
    events = []

    def sleep(stopping):
        # Whoever waits longer would wait for ever.
        events.pop(0)()

    monkeypatch.setattr(slurm, '_sleep', sleep)
    return events


def _run(folder, name, *command, needs=None):
    """A run that is done when it has made a file; by default it makes it."""
    made = folder / f'{name}.done'
    command = command or ('touch', str(made))
    return Run((name,), 0, folder / name, (command,), (made,), needs and folder / needs)


def _reasons(outcomes):
    return {outcome.run.folder.name: outcome.reason for outcome in outcomes}


def test_each_job_that_leaves_the_queue_is_told_how_it_ended(cluster, meanwhile, tmp_path, capsys):
    runs = [_run(tmp_path, name) for name in ('good', 'cancelled', 'raises', 'dies', 'idle')]
    runs.insert(1, _run(tmp_path, 'bad', 'false'))
    trace = 'Traceback\n  in f\nValueError: no\nOSError: last\nand more\n'
    meanwhile += [
        lambda: cluster.end('bad'),
        lambda: (cluster.end('good'), cluster.leave('cancelled')),
        lambda: cluster.end('raises', ('error', trace)),
        lambda: cluster.end('dies', ('error', 'killed\n')),
        lambda: cluster.end('idle', ('success', '')),
    ]
    outcomes = slurm.run_all(runs, tmp_path, {})
    assert not any(outcome.stopped for outcome in outcomes)
    # In the order in which they have ended, and of one look in that of the runs.
    assert list(_reasons(outcomes).items()) == [
        ('bad', 'exit status 1'),
        ('good', ''),
        ('cancelled', f'Slurm ended job 103; see {tmp_path}/slurm/103_0_log.err'),
        ('raises', 'OSError: last'),
        ('dies', f'job 105 failed; see {tmp_path}/slurm/105_0_log.err'),
        ('idle', f'job 106 left it unfinished; see {tmp_path}/idle.log'),
    ]
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ['bad, seed 0: exit status 1', 'good, seed 0: done']
    assert not meanwhile


def test_a_job_comes_after_the_one_that_it_needs_and_has_the_options(cluster, meanwhile, tmp_path):
    runs = [_run(tmp_path, 'first'), _run(tmp_path, 'after', needs='first')]
    meanwhile += [lambda: cluster.end('first'), lambda: cluster.end('after')]
    options = {'partition': 'gpu', 'time': '3', 'cpus_per_task': '2'}
    assert set(_reasons(slurm.run_all(runs, tmp_path, options)).values()) == {''}
    assert '--dependency=afterany:101' in cluster.script(102)
    assert not any('--dependency' in line for line in cluster.script(101))
    for number in (101, 102):
        (for_srun,) = (line for line in cluster.script(number) if line.startswith('srun '))
        assert '--cpus-per-task=2' in for_srun.split()
        # Of three minutes one is for saving.
        assert set(cluster.script(number)) > {
            '--partition=gpu',
            '--time=3',
            '--cpus-per-task=2',
            '--signal=USR2@60',
            '--requeue',
        }


def _script(cluster, folder, options, before=None):
    number = slurm._submit(_run(folder, 'a'), before, folder / 'slurm', options)
    return cluster.script(number)


@pytest.mark.parametrize(
    ('name', 'text', 'line'),
    [
        ('account', '007', '--account=007'),
        ('account', '7', '--account=7'),
        ('account', '²', "--account='²'"),
        ('mem_gb', '16', '--mem=16GB'),
        ('exclusive', '', '--exclusive'),
        ('exclusive', 'TRUE', '--exclusive'),
        ('exclusive', 'user', '--exclusive=user'),
        ('comment', 'true', '--comment=true'),
        ('dependency', 'afterok:7', '--dependency=afterok:7'),
    ],
)
def test_an_option_reaches_sbatch_as_it_was_given(name, text, line, cluster, tmp_path):
    assert line in _script(cluster, tmp_path, {name: text})


@pytest.mark.parametrize(('text', 'on'), [('', True), ('true', True), ('False', False)])
def test_a_switch_of_submitit_is_on_or_off(text, on, cluster, tmp_path):
    script = _script(cluster, tmp_path, {'use_srun': text})
    assert any(line.startswith('srun ') for line in script) == on
    script = _script(cluster, tmp_path, {'stderr_to_stdout': text})
    assert any(line.startswith('--error=') for line in script) != on


def test_a_dependency_is_added_to_that_on_another_run(cluster, tmp_path):
    script = _script(cluster, tmp_path, {'dependency': 'afterok:7'}, before='101')
    assert [line for line in script if line.startswith('--dependency')] == [
        '--dependency=afterok:7,afterany:101'
    ]


@pytest.mark.parametrize('cores', [{}, {'cpus_per_task': '2'}])
def test_words_for_srun_are_added_to_the_number_of_cores(cores, cluster, tmp_path):
    options = {'srun_args': '--mpi=none --prolog="a b"', **cores}
    (line,) = (x for x in _script(cluster, tmp_path, options) if x.startswith('srun '))
    words = shlex.split(line)
    first = words.index('--mpi=none')
    assert words[first : first + 2] == ['--mpi=none', '--prolog=a b']
    assert ('--cpus-per-task=2' in words) == bool(cores)


@pytest.mark.parametrize(
    ('name', 'text', 'says'),
    [
        ('srun_args', '"a', r'srun_args="a: must be words as in a shell \(No closing quotation\)'),
        ('mem_gb', 'much', 'much'),
        ('qos', '', 'qos: needs a value, qos=VALUE'),
        ('time', '', 'time=: must be minutes'),
        *(('max_num_timeout', text, 'must be a whole number') for text in ('', 'true', '-1', '²')),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_before_sbatch(name, text, says, cluster, tmp_path):
    with pytest.raises(GridError, match=f'^--slurm.*{says}'):
        _script(cluster, tmp_path, {name: text})
    assert cluster.submitted() == []


def test_a_job_whose_name_is_no_text_ends_no_sweep(cluster, meanwhile, tmp_path):
    cluster.queue.write_bytes(b'l\xe4ufe 7\n')
    assert slurm._queued() == {'l\ufffdufe': '7'}


def test_what_is_done_or_queued_is_not_submitted_again(cluster, meanwhile, tmp_path):
    done, queued, of_others = runs = [_run(tmp_path, name) for name in ('done', 'mine', 'theirs')]
    done.makes[0].touch()
    # As a sweep leaves it that was stopped.
    slurm._submit(queued, None, tmp_path / 'slurm', {})
    slurm._submit(of_others, None, tmp_path / 'elsewhere', {})
    meanwhile.append(lambda: cluster.end('mine'))
    outcomes = slurm.run_all(runs, tmp_path, {})
    assert _reasons(outcomes) == {
        'done': '',
        'theirs': 'is job 102 of another --runs folder already',
        'mine': '',
    }
    assert cluster.submitted() == [101, 102]


def test_without_a_queue_nothing_is_submitted(cluster, meanwhile, tmp_path):
    cluster.silent.touch()
    with pytest.raises(GridError, match=r'--slurm: squeue does not answer'):
        slurm.run_all([_run(tmp_path, 'a')], tmp_path, {})
    assert cluster.submitted() == []


def test_a_queue_that_does_not_answer_for_a_while_ends_no_job(cluster, meanwhile, tmp_path):
    meanwhile += [
        lambda: None,
        cluster.silent.touch,
        lambda: (cluster.silent.unlink(), cluster.end('a')),
    ]
    assert _reasons(slurm.run_all([_run(tmp_path, 'a')], tmp_path, {})) == {'a': ''}
    assert not meanwhile


def test_told_to_stop_the_jobs_stay_in_the_queue(cluster, meanwhile, tmp_path, capsys):
    runs = [_run(tmp_path, name) for name in 'abc']
    meanwhile += [lambda: cluster.end('b'), lambda: os.kill(os.getpid(), signal.SIGTERM)]
    outcomes = slurm.run_all(runs, tmp_path, {})
    ends = [(outcome.run.folder.name, outcome.reason, outcome.stopped) for outcome in outcomes]
    waits = ('is in the queue', True)
    assert ends == [('b', '', False), ('a', *waits), ('c', *waits)]
    told = capsys.readouterr().out
    assert '2 jobs go on in the queue; the same command waits for them again' in told
    assert told.endswith('To cancel them: scancel 101 103\n')


def test_told_to_stop_while_it_submits_it_submits_no_more(cluster, tmp_path, monkeypatch):
    submit = slurm._submit

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return submit(*arguments)

    monkeypatch.setattr(slurm, '_submit', interrupted)
    outcomes = slurm.run_all([_run(tmp_path, name) for name in 'ab'], tmp_path, {})
    assert _reasons(outcomes) == {'b': 'was not submitted', 'a': 'is in the queue'}
    assert all(outcome.stopped for outcome in outcomes)
    assert cluster.submitted() == [101]


@pytest.mark.parametrize(
    ('states', 'cancelled'),
    [
        ('CANCELLED\n', True),
        ('COMPLETING\n', True),
        ('RUNNING\n', False),
        ('', False),
        (None, False),
    ],
)
def test_a_stopped_job_is_queued_again_unless_it_was_cancelled(
    states, cancelled, cluster, tmp_path, monkeypatch
):
    cluster.silent.touch() if states is None else cluster.states.write_text(states)
    monkeypatch.setenv('SLURM_JOB_ID', '107')
    again = []
    before = signal.signal(signal.SIGUSR2, lambda *_: again.append(True))
    try:
        job = slurm.RunJob(_run(tmp_path, 'a', 'sh', '-c', f'exit {preemption.STATUS}'))
        reason = job()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert reason == ('its job was cancelled' if cancelled else 'submitit did not queue it again')
    assert again == ([] if cancelled else [True])
