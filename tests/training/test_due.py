import json

import pytest

from contrastive_jax.data import sources
from contrastive_jax.errors import UserError
from contrastive_jax.training import loop
from contrastive_jax.training.due import CheckpointClock, steps_between
from tests.helpers import npz_changes, small_config
from tests.marks import in_ci
from tests.processes import finish

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


def _due(every, minutes, seconds_of_step, steps, keep=0):
    """Steps after which a checkpoint is due, of a run whose steps take so long."""
    now = [0.0]
    clock = CheckpointClock(every, minutes, lambda: now[0], keep)
    due = []
    for step in range(1, steps + 1):
        now[0] += seconds_of_step
        if clock.due(step):
            due.append(step)
    return due


def test_a_checkpoint_is_due_after_steps_or_minutes():
    assert _due(4, 0, 3600, 10) == [4, 8]
    assert _due(1000, 10, 1, 500) == []
    # The clock starts after the first step, which compiles.
    assert _due(1000, 10, 3, 500) == [201, 401]
    # A checkpoint by steps starts the minutes anew.
    assert _due(250, 10, 3, 700) == [201, 250, 450, 500, 700]
    assert _due(4, 0, 3600, 12, keep=6) == [4, 6, 8, 12]


def test_the_gap_between_checkpoints_follows_from_the_pace():
    assert steps_between(1000, 10, 256, None) == 1000
    assert steps_between(1000, 0, 256, 25.6) == 1000
    assert steps_between(1000, 10, 256, 256_000.0) == 1000
    # 0.1 steps a second: 60 in ten minutes, and up to ten more until several processes agree.
    assert steps_between(1000, 10, 256, 25.6) == 70


def _changes(tmp_path, **changes):
    return npz_changes(tmp_path) | changes


def _saved(workdir):
    return sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())


@pytest.mark.ci
def test_a_run_of_slow_steps_has_checkpoints(tmp_path):
    config = small_config(**_changes(tmp_path, epochs=4, checkpoint_minutes=1e-9))
    loop.pretrain(config, sources.load(config.data).train, tmp_path)
    assert _saved(tmp_path) == [7, 8]


def test_checkpoints_are_kept_beside_the_newest(tmp_path):
    config = small_config(**_changes(tmp_path, epochs=5, checkpoint_every=4, checkpoint_keep=3))
    loop.pretrain(config, sources.load(config.data).train, tmp_path)
    # Of 4, 8 and 10, the newest two stay.
    assert _saved(tmp_path) == [3, 6, 9, 10]


@pytest.mark.ci
def test_a_resume_keeps_what_earlier_starts_have_kept(tmp_path):
    def train(epochs, keep):
        changes = _changes(tmp_path, epochs=epochs, checkpoint_every=4, checkpoint_keep=keep)
        config = small_config(**changes)
        loop.pretrain(config, sources.load(config.data).train, tmp_path)
        return _saved(tmp_path)

    assert train(5, 3) == [3, 6, 9, 10]
    # 9 was among the newest two as well. 10 was not kept.
    assert train(9, 0) == [3, 6, 9, 16, 18]
    assert train(12, 7) == [3, 6, 9, 21, 24]


@pytest.mark.parametrize(('every', 'minutes'), [(5, 10.0), *in_ci((1000, 1e-3))])
def test_checkpoints_at_other_times_than_before_have_not_been_lost(every, minutes, tmp_path):
    begun = small_config(**_changes(tmp_path))
    (tmp_path / 'config.json').write_text(json.dumps(begun.to_dict()))
    lines = [{'step': step, 'loss': 1.0, 'pairs_per_second': 64.0} for step in range(1, 301)]
    (tmp_path / 'metrics.jsonl').write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    config = small_config(**_changes(tmp_path, checkpoint_every=every, checkpoint_minutes=minutes))
    loop.pretrain(config, sources.load(config.data).train, tmp_path)
    assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 4


@pytest.mark.parametrize(('pace', 'lost'), [(0.016, True), (16.0, False)])
def test_slow_steps_without_a_checkpoint_have_lost_one(pace, lost, tmp_path):
    """22 steps of 1,000 seconds, or of one, and ten minutes between checkpoints."""
    config = small_config(**_changes(tmp_path))
    split = sources.load(config.data).train
    lines = [{'step': step, 'loss': 1.0, 'pairs_per_second': pace} for step in range(1, 23)]
    log = tmp_path / 'metrics.jsonl'
    log.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    if lost:
        with pytest.raises(UserError, match='22 steps are logged, and there is no checkpoint'):
            loop.pretrain(config, split, tmp_path)
    else:
        loop.pretrain(config, split, tmp_path)
    assert len(log.read_text().splitlines()) == (22 if lost else 4)


@pytest.mark.slow
def test_several_processes_agree_on_the_time(tmp_path):
    changes = _changes(tmp_path, epochs=13, checkpoint_minutes=1e-9)
    finish(tmp_path / 'run', changes, processes=2)
    # Asked at every tenth step; the last step has a checkpoint anyway.
    assert _saved(tmp_path / 'run') == [20, 26]
