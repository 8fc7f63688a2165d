import pytest
import tqdm.std

from contrastive_jax.runtime import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock of tqdm that stands still until it is told to go on."""
    now = [1000.0]
    monkeypatch.setattr(tqdm.std, 'time', lambda: now[0])
    return now


def test_a_log_gets_at_most_a_line_a_minute(clock, capsys):
    bar = progress.track(range(30), 'train', unit='step', initial=70, total=100)
    for step in bar:
        bar.set_postfix_str(f'loss {step}.5')
        clock[0] += 10.0
    assert capsys.readouterr().err.splitlines() == [
        'train: step 76 of 100, 76 %, 04:00 left, loss 5.5',
        'train: step 82 of 100, 82 %, 03:00 left, loss 11.5',
        'train: step 88 of 100, 88 %, 02:00 left, loss 17.5',
        'train: step 94 of 100, 94 %, 01:00 left, loss 23.5',
        'train: step 100 of 100, 100 %, 00:00 left, loss 29.5',
    ]


def test_short_work_leaves_nothing_in_a_log(clock, capsys):
    assert list(progress.track(range(3), 'features')) == [0, 1, 2]
    assert capsys.readouterr().err == ''


def test_slow_steps_have_a_line_each(clock, capsys):
    for _ in progress.track(range(2), 'train'):
        clock[0] += 100.0
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_phases_are_said_on_standard_error(capsys):
    progress.say('probe: raw pixels')
    with progress.muted():
        progress.say('probe: of another process')
        list(progress.track(range(3), 'features'))
        with progress.muted():
            pass
        progress.say('probe: still of another process')
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ('', 'probe: raw pixels\n')
