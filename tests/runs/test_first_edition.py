"""A run that the first edition began: `first_edition.zip` is what it left of one with a queue."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax import main
from contrastive_jax.config import restored
from contrastive_jax.runs import images
from contrastive_jax.runs.checkpoints import Checkpoints
from contrastive_jax.runs.loading import load_run
from tests.helpers import state_and_step

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture
def workdir(tmp_path):
    shutil.unpack_archive(Path(__file__).with_name('first_edition.zip'), tmp_path / 'run')
    return tmp_path / 'run'


def _config(workdir):
    return restored(json.loads((workdir / 'config.json').read_text()))


def test_the_queue_of_its_checkpoint_is_restored(workdir):
    initial, _ = state_and_step(_config(workdir), channels=1, mapped=False)
    checkpoints = Checkpoints(workdir, read_only=True)
    state = checkpoints.restore(initial)
    checkpoints.close()
    assert int(state.step) == 3
    # After three steps of 64 keys every row of the 128 is of an image.
    assert np.all(np.asarray(initial.extra.queue.labels) == -1)
    assert np.all(np.asarray(state.extra.queue.labels) >= 0)


@pytest.mark.ci
def test_it_can_be_read_and_goes_on(workdir, monkeypatch, capsys):
    assert load_run(workdir).step == 3
    assert 'measured from the data once more' in capsys.readouterr().err
    measured = []
    measure = images.pixel_moments
    monkeypatch.setattr(images, 'pixel_moments', lambda each: measured.append(1) or measure(each))
    logged = (workdir / 'metrics.jsonl').read_text().splitlines()
    result = main.run(_config(workdir), workdir)
    assert result['steps'] == 5
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    assert lines[:3] == logged[:3]
    assert [json.loads(line)['step'] for line in lines] == [1, 2, 3, 4, 5]
    # Its checkpoints are now of this edition, and are read as well.
    assert load_run(workdir).step == 5
    # By the run, once; its folder then holds them.
    assert len(measured) == 1
