"""A run that is killed and started again is the run that nobody killed."""

import os
import random
import signal
import time

import numpy as np
import pytest

from tests.faults.dying import PLACES
from tests.helpers import streamed_config, write_npz
from tests.processes import finish, log_of, metrics, parameters, result, start

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')
SIMCLR = {
    'data__name': 'npz',
    'epochs': 40,
    'checkpoint_every': 7,
    'pairs__select': 'difficult',
    'pairs__margin': 0.2,
}
STEPS = 40 * 5
IN_TRAINING, AFTERWARDS = PLACES[:4], PLACES[4:]


def _deaths(kills, rng):
    """Places to die at, those in training first; None for a random moment."""
    last = list(AFTERWARDS[-max(1, min(3, kills // 3)) :])
    places = [*IN_TRAINING, None]
    first = [places[i % len(places)] for i in range(kills - len(last))]
    return [(place, rng.randint(1, 4) if place in IN_TRAINING else 1) for place in first + last]


def _kill(workdir, changes, place, count, rng, **how):
    """Starts the run and has all of it die; returns the exit status of the first process."""
    dying = (place, str(count)) if place else ()
    started = start(workdir, changes, dying=dying, **how)
    if place is None:
        time.sleep(rng.uniform(0, 8))
        os.killpg(started[0].pid, signal.SIGKILL)
    status = started[0].wait(200)
    for running in started[1:]:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(20)
    _gone(started[0].pid)
    return status


def _gone(group):
    """Waits for what the killed process leaves behind to notice."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f'processes of the killed run live on: {os.popen("ps -ef").read()}')


@pytest.mark.ci
@pytest.mark.parametrize(
    'kind',
    [
        'simclr',
        pytest.param('moco', marks=pytest.mark.slow),
        pytest.param('streamed', marks=pytest.mark.slow),
        pytest.param('two_processes', marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_is_the_unbroken_one(kind, tmp_path, pytestconfig):
    data = write_npz(tmp_path / 'data.npz', train=80)
    changes = {
        'simclr': {},
        'moco': {'moco__queue_size': 256, 'moco__symmetric': True},
        'streamed': streamed_config(tmp_path / 'images') if kind == 'streamed' else {},
        'two_processes': {},
    }[kind]
    changes = SIMCLR | {'data__data_dir': str(data)} | changes
    how = {'processes': 2, 'devices': 2} if kind == 'two_processes' else {}
    unbroken, broken = tmp_path / 'unbroken', tmp_path / 'broken'
    finish(unbroken, changes, **how)
    rng = random.Random(kind)
    for place, count in _deaths(pytestconfig.getoption('kills'), rng):
        status = _kill(broken, changes, place, count, rng, **how)
        assert status == -signal.SIGKILL, log_of(broken).read_text()
        assert not (broken / 'result.json').exists()
    finish(broken, changes, **how)

    channels = 3 if kind == 'streamed' else 1
    step, expected = parameters(unbroken, changes, channels)
    assert step == (STEPS if kind != 'streamed' else 25 * 8)
    again, found = parameters(broken, changes, channels)
    assert again == step
    np.testing.assert_array_equal(found, expected)
    assert [line['step'] for line in metrics(broken)] == list(range(1, step + 1))
    assert metrics(broken) == metrics(unbroken)
    assert result(broken) == result(unbroken)
    assert not (broken / 'damaged').exists()
