import io

import jax.numpy as jnp
import optax
from tqdm import tqdm

from contrastive_jax.training import recorder
from contrastive_jax.training.recorder import Recorder


def test_the_bar_shows_the_last_accuracy_of_the_monitor(monkeypatch):
    monkeypatch.setattr(recorder, '_LOG_SECONDS', -1.0)
    records = Recorder(None, 8, 2, optax.constant_schedule(0.1))
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
