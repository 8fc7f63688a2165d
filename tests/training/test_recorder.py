import io
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tqdm import tqdm

from contrastive_jax.runs.logs import MetricsLog
from contrastive_jax.training import recorder
from contrastive_jax.training.optimizer import learning_rates
from contrastive_jax.training.recorder import Recorder


def test_the_bar_shows_the_last_accuracy_of_the_monitor(monkeypatch):
    monkeypatch.setattr(recorder, '_LOG_SECONDS', -1.0)
    records = Recorder(None, 8, 2, np.full(4, 0.1, np.float32))
    with tqdm(total=4, file=io.StringIO()) as bar:
        shown = []
        for step in range(1, 5):
            look = {'monitor/knn': jnp.float32(0.8124)} if step == 2 else {}
            records.add(step, {'loss': jnp.float32(1.5)} | look, bar)
            shown.append(bar.postfix)
    # A step is written when the next one has begun.
    assert 'knn' not in (shown[1] or '')
    for text in shown[2:]:
        assert ', loss 1.500, knn 81.2, ' in text


def test_the_bar_shows_the_last_loss_when_all_steps_are_written(monkeypatch):
    monkeypatch.setattr(recorder, '_LOG_SECONDS', -1.0)
    records = Recorder(None, 8, 2, np.full(4, 0.1, np.float32))
    with tqdm(total=4, file=io.StringIO()) as bar:
        for step in range(1, 5):
            records.add(step, {'loss': jnp.float32(step)}, bar)
            # As before a checkpoint.
            records.write_all()
    assert bar.postfix.startswith('epoch 2 of 2, loss 3.000, ')


def test_the_pace_is_that_of_the_steps_of_this_process(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(recorder, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
    records = Recorder(None, 8, 2, np.full(20, 0.1, np.float32))
    with tqdm(total=14, file=io.StringIO()) as bar:
        # A run that goes on after step 10.
        for step in range(11, 15):
            now[0] += 2
            records.add(step, {'loss': jnp.float32(1)}, bar)
        records.write_all()
    assert records.pairs_per_second == 4


def test_the_learning_rate_is_that_of_the_updates_taken(tmp_path):
    log = MetricsLog(tmp_path, 0)
    records = Recorder(log, 8, 2, learning_rates(optax.linear_schedule(1.0, 0.0, 10), 4))
    with tqdm(total=4, file=io.StringIO()) as bar:
        # The first and the third step make no update.
        for step, skipped in enumerate((1, 1, 2, 2), start=1):
            numbers = {'loss': jnp.float32(1), 'skipped_updates': jnp.float32(skipped)}
            records.add(step, numbers, bar)
        records.close()
    lines = map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines())
    assert [line['learning_rate'] for line in lines] == pytest.approx([1.0, 1.0, 1.0, 0.9])
