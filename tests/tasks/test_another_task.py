"""A task that the package does not know: by how many quarter turns an image was rotated."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax

from contrastive_jax import main
from contrastive_jax.config import FIELDS, Field, Section, differences, paths, register, validate
from contrastive_jax.config.rules import PATH, integer
from contrastive_jax.config.sections import SECTIONS
from contrastive_jax.errors import UserError
from contrastive_jax.runs.loading import load_run
from contrastive_jax.training.task import Outcome, Task
from tests.helpers import npz_changes, small_config, taken_away
from tests.processes import metrics

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


class _Model(nnx.Module):
    def __init__(self, config, moments, ctx):
        pixels = 64 * len(moments.mean)
        self.hidden = nnx.Linear(pixels, 16, dtype=ctx.dtype, rngs=ctx.rngs)
        self.head = nnx.Linear(16, config.rotation.turns, dtype=ctx.dtype, rngs=ctx.rngs)

    def encode(self, images, *, train):
        return nnx.relu(self.hidden(images.reshape(len(images), -1)))


def _loss(model, extra, batch, context, *, turns):
    images = batch.images.astype(jnp.float32) / 255
    targets = jax.vmap(lambda key: jax.random.randint(key, (), 0, turns))(context.keys(len(images)))
    turned = jnp.stack([jnp.rot90(images, k, axes=(1, 2)) for k in range(turns)])
    logits = model.head(model.encode(turned[targets, jnp.arange(len(images))], train=True))
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = (jnp.argmax(logits, axis=1) == targets).astype(jnp.float32)
    loss, hits = jnp.mean(losses), jnp.mean(hits)
    if context.axis_name is not None:
        loss, hits = lax.pmean((loss, hits), context.axis_name)
    return Outcome(loss, {'rotation_accuracy': hits}, extra + 1)


def _check_square(dataset):
    height, width = dataset.train.images.shape[1:3]
    if height != width:
        raise UserError(f'config.model.name=rotation: images of {height} x {width} are not square')


def make_task(config):
    return Task(
        build=partial(_Model, config),
        loss=partial(_loss, turns=config.rotation.turns),
        init=lambda model, key: jnp.int32(0),
        check=_check_square,
        evaluate=lambda graphdef, state, dataset: {'batches_seen': int(state.extra)},
        summary=lambda result: [f'saw {result["batches_seen"]} batches'],
        kind='rotation network',
    )


SECTION = Section(
    module=__name__,
    chosen=lambda config: config.model.name == 'rotation',
    fields={'rotation.turns': Field(4, integer(2), 'quarter turns that are told apart')},
    models=('rotation',),
)


@pytest.fixture
def config(tmp_path):
    before, known = dict(FIELDS), len(SECTIONS)
    register(SECTION)
    yield small_config(**npz_changes(tmp_path), model__name='rotation', checkpoint_every=1)
    del SECTIONS[known:]
    FIELDS.clear()
    FIELDS.update(before)


@pytest.mark.ci
def test_it_trains_resumes_and_leaves_its_result(config, tmp_path, monkeypatch, capsys):
    whole = main.run(config, tmp_path / 'whole')
    assert whole['batches_seen'] == whole['steps'] == 4
    assert whole['linear_accuracy'] > 0.5
    assert 'saw 4 batches' in capsys.readouterr().out
    with taken_away(monkeypatch, 'make_batch', 3), pytest.raises(RuntimeError, match='taken away'):
        main.run(config, tmp_path / 'broken')
    assert not (tmp_path / 'broken' / 'result.json').exists()
    resumed = main.run(config, tmp_path / 'broken')
    assert resumed['batches_seen'] == 4
    assert resumed['linear_accuracy'] == whole['linear_accuracy']
    assert metrics(tmp_path / 'broken') == metrics(tmp_path / 'whole')
    assert all(0 <= line['rotation_accuracy'] <= 1 for line in metrics(tmp_path / 'whole'))
    stored = json.loads((tmp_path / 'whole' / 'config.json').read_text())
    assert stored['rotation'] == {'turns': 4}
    run = load_run(tmp_path / 'broken')
    assert run.step == 4
    assert run.encode(np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 16)


def test_its_field_is_checked_as_any_other(config):
    config.rotation.turns = 1
    with pytest.raises(UserError, match=r'config\.rotation\.turns=1: must be an integer of at'):
        validate(config)


def test_its_path_is_a_path_as_any_other(config):
    angles = Field(None, PATH, 'file of angles')
    register(SECTION._replace(fields={'rotation.angles': angles}))
    assert 'rotation.angles' in paths()
    one, other = ({'rotation': {'angles': path}} for path in ('/angles', '/angles//'))
    assert differences(one, other) == []


def test_its_data_are_checked_before_anything_is_written(config, tmp_path):
    images = np.zeros((40, 8, 6, 1), np.uint8)
    np.savez(config.data.data_dir, train_images=images, test_images=images)
    with pytest.raises(UserError, match='images of 8 x 6 are not square'):
        main.run(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
