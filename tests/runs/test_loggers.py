"""Where a run shows its curves; Weights & Biases and Trackio work here without a network."""

import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event

from contrastive_jax import main
from contrastive_jax.errors import UserError
from contrastive_jax.runs.loggers import check_logger
from contrastive_jax.runs.logs import MetricsLog
from contrastive_jax.runs.names import TENSORBOARD
from tests.helpers import small_config

ROOT = Path(__file__).parents[2]


class Library:
    """Stands for `wandb` or `trackio`: keeps what it is given."""

    def __init__(self, mode='online', key=False):
        self.begun, self.steps, self.finished = [], [], 0
        self._settings, self._key = SimpleNamespace(mode=mode), key

    def setup(self):
        return SimpleNamespace(settings=self._settings)

    def login(self, *, prompt, verify):
        assert not prompt
        assert not verify
        return self._key

    def Settings(self, **options):
        return options

    def init(self, **options):
        self.begun.append(options)
        return SimpleNamespace(log=self.log)

    def log(self, numbers, step):
        if step == 13:
            raise ConnectionResetError('Connection lost\nat once')
        self.steps.append(step)

    def finish(self):
        self.finished += 1


@pytest.fixture
def libraries(monkeypatch):
    """Both libraries."""
    both = {name: Library() for name in ('wandb', 'trackio')}
    for name, library in both.items():
        monkeypatch.setitem(sys.modules, name, library)
    return both


def _write(workdir, name, steps):
    """Logs some steps, as a run does that starts after the checkpoint before them."""
    log = MetricsLog(workdir, steps.start - 1, name)
    for step in steps:
        log.write(step, 0, {'loss': 1 / step, 'pairs_per_second': None})
    log.flush()
    log.close()


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.json').write_text('{"seed": 3}')
    return tmp_path / 'run'


@pytest.mark.parametrize('name', ['wandb', 'trackio'])
def test_a_logger_that_is_not_installed_is_said_before_anything_is_written(
    name, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f'--log={name}: .* pip install {name},'):
        main.run(small_config(data__name='digits'), tmp_path / 'run', logger=name)
    assert not (tmp_path / 'run').exists()
    # What an earlier run of wandb leaves in the folder imports as an empty module.
    monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    with pytest.raises(UserError, match=f'{name} is not installed'):
        check_logger(name)


@pytest.mark.parametrize(
    ('mode', 'key', 'ready'),
    [('online', False, False), ('online', True, True), ('offline', False, True)],
)
def test_a_key_is_needed_unless_offline(mode, key, ready, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', Library(mode, key))
    if ready:
        check_logger('wandb')
    else:
        with pytest.raises(UserError, match=r'no key; run `wandb login`.*WANDB_MODE=offline'):
            check_logger('wandb')


@pytest.mark.parametrize('name', ['wandb', 'trackio'])
def test_a_resumed_run_goes_on_in_the_same_run_and_sends_each_step_once(name, libraries, workdir):
    library = libraries[name]
    _write(workdir, name, range(1, 11))
    # It was killed twice before the next checkpoint.
    _write(workdir, name, range(6, 8))
    _write(workdir, name, range(6, 13))
    assert library.steps == list(range(1, 13))
    assert library.finished == 3
    assert library.begun[0] == library.begun[1] == library.begun[2]
    assert library.begun[0]['resume'] == 'allow'
    assert library.begun[0]['config'] == {'seed': 3}
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == list(range(1, 13))
    # A run that begins again in an emptied folder is another one.
    (workdir / f'{name}.json').unlink()
    _write(workdir, name, range(1, 2))
    assert library.begun[3] != library.begun[0]


def test_a_library_that_fails_stops_no_training(libraries, workdir, caplog):
    _write(workdir, 'wandb', range(12, 16))
    assert libraries['wandb'].steps == [12]
    assert libraries['wandb'].finished == 0
    (record,) = caplog.records
    assert '--log=wandb: takes no more numbers (Connection lost)' in record.getMessage()


def test_a_library_that_cannot_begin_is_an_error_of_one_line(libraries, workdir, monkeypatch):
    def init(**_):
        raise OSError('no route\nto host')

    monkeypatch.setattr(libraries['trackio'], 'init', init)
    with pytest.raises(UserError, match=r'^--log=trackio: cannot begin \(no route\); mend that'):
        MetricsLog(workdir, 0, 'trackio')
    (workdir / 'wandb.json').write_text('{}')
    with pytest.raises(UserError, match=r'wandb\.json: damaged; delete it'):
        MetricsLog(workdir, 0, 'wandb')


# The libraries are large, so the extra `test` lacks them: pip install -e '.[wandb,trackio]'.
def _real(name, workdir, program):
    """What a program prints that begins with the real library, without a network."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; pip install -e '.[{name}]'")
    environ = {
        'WANDB_MODE': 'offline',
        'TRACKIO_DIR': str(workdir.parent / 'trackio'),
        'HF_HUB_OFFLINE': '1',
        'PYTHONPATH': str(ROOT),
        'JAX_PLATFORMS': 'cpu',
    }
    done = subprocess.run(
        [sys.executable, '-c', program],
        env=os.environ | environ,
        cwd=workdir.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_RUN = """
from pathlib import Path
from contrastive_jax import main
from contrastive_jax.training import loop
from contrastive_jax.runtime.preemption import Preempted
from tests.helpers import small_config, write_npz

data = write_npz(Path('data.npz'), labels=False)
config = small_config(data__name='npz', data__data_dir=str(data), epochs=4, checkpoint_every=3)
pretrain = loop.pretrain
def stopping(config, split, workdir, should_stop, *rest):
    return pretrain(config, split, workdir, lambda step: step == 5, *rest)
main.pretrain = stopping
try:
    main.run(config, Path('run'), logger=NAME)
except Preempted as notice:
    print(notice)
main.pretrain = pretrain
main.run(config, Path('run'), logger=NAME)
"""


def test_wandb_takes_a_run_and_its_resumption_offline(workdir):
    (workdir / 'config.json').unlink()
    told = _real('wandb', workdir, _RUN.replace('NAME', repr('wandb')))
    assert 'saved at step 5 of 8' in told
    identity = json.loads((workdir / 'wandb.json').read_text())['id']
    parts = sorted((workdir / 'wandb').glob('offline-run-*'))
    assert len(parts) == 2
    for part in parts:
        assert (part / f'run-{identity}.wandb').stat().st_size > 500


def test_trackio_takes_a_run_and_its_resumption_on_this_machine(workdir):
    (workdir / 'config.json').unlink()
    told = _real('trackio', workdir, _RUN.replace('NAME', repr('trackio')))
    assert 'saved at step 5 of 8' in told
    read = (
        'import json\n'
        'from trackio.sqlite_storage import SQLiteStorage\n'
        "(name,) = SQLiteStorage.get_runs('contrastive_jax')\n"
        "print(json.dumps([name, SQLiteStorage.get_logs('contrastive_jax', name)]))\n"
    )
    name, logs = json.loads(_real('trackio', workdir, read).splitlines()[-1])
    assert name == f'run-{json.loads((workdir / "trackio.json").read_text())["id"]}'
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert [log['step'] for log in logs] == [line['step'] for line in lines] == list(range(1, 9))
    assert [log['loss'] for log in logs] == [line['loss'] for line in lines]


def _events(workdir):
    """All TensorBoard events, in the order of their files."""
    for path in sorted(workdir.glob('events*')):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from('<Q', data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16


def test_tensorboard_is_told_which_steps_are_taken_again(workdir):
    """A reader drops all earlier events from the step of a START on; steps taken before stay."""
    log = MetricsLog(workdir, 4, TENSORBOARD)
    log.close()
    starts = [event.step for event in _events(workdir) if event.HasField('session_log')]
    assert starts == [5]


def test_tensorboard_gets_the_numbers_of_each_step(workdir):
    _write(workdir, TENSORBOARD, range(3, 5))
    told = {
        event.step: {value.tag: value.simple_value for value in event.summary.value}
        for event in _events(workdir)
        if event.HasField('summary')
    }
    # A number that there is none of is no point of a curve. An event holds 32 bits of each.
    assert told == {step: {'loss': pytest.approx(1 / step, rel=1e-6)} for step in (3, 4)}
