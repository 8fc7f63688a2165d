"""Every field of the config is read by something that runs."""

import re
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from contrastive_jax import config as base
from contrastive_jax import main
from contrastive_jax.config.table import Field
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.errors import UserError
from contrastive_jax.runs.start import read_start
from contrastive_jax.training import devices
from tests.helpers import random_batch, small_config, split_over, state_and_step, write_npz

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture
def read(monkeypatch):
    """The fields that the package reads from now on, those that only the check reads left out."""
    found = set()
    get = ConfigDict.__getattr__

    def recording(config, name):
        value = get(config, name)
        module = sys._getframe(1).f_globals['__name__']
        # What checks a config is called like it.
        if module.startswith('contrastive_jax.') and not module.startswith(base.__name__):
            if isinstance(value, ConfigDict):
                # A section does not know its name.
                object.__setattr__(value, '_section', name)
            else:
                found.add('.'.join([*filter(None, [config.__dict__.get('_section')]), name]))
        return value

    monkeypatch.setattr(ConfigDict, '__getattr__', recording)
    return found


def _run(tmp_path):
    """Everything from data to result."""
    data = str(write_npz(tmp_path / 'data.npz'))
    monitor = {'monitor__every_epochs': 2, 'monitor__images': 8}
    config = small_config(data__name='npz', data__data_dir=data, **monitor)
    main.run(config, tmp_path / 'run')
    config.update(arm='simclr', epochs=3, extend=str(tmp_path / 'run'))
    read_start(config, tmp_path / 'longer', construct(config, sources.load(config.data).pretrain))


def _trace(config):
    """A step, without compiling it."""
    state, step = state_and_step(config, mapped=True)
    batch = split_over(jax.device_count(), random_batch(0, config.batch_size))
    jax.eval_shape(devices.map_over_devices(step), devices.replicate(state), batch)


def _trace_all():
    augment = {'crop': True, 'jitter': 0.5, 'greyscale': 0.5, 'blur': 0.5}
    augment = {f'augment__{name}': value for name, value in augment.items()}
    difficult = {'pairs__select': 'difficult', 'pairs__margin': 0.1}
    queue = {'moco__queue_size': 32, 'optimizer__name': 'lars'}
    for changes in (augment | difficult, queue | difficult, {'model__name': 'resnet18'}):
        _trace(small_config(**changes))
    for name in ('energy', 'feedforward'):
        with jax.numpy_rank_promotion('allow'):
            _trace(small_config(model__name=name, denoise__loss='last'))
    for loss in ('spectral', 'debiased', 'hard_negative', 'decoupled'):
        _trace(small_config(loss__name=loss))


def _stream(tmp_path):
    for split in ('train', 'test'):
        for label in ('dark', 'light'):
            folder = tmp_path / 'images' / split / label
            folder.mkdir(parents=True)
            for index in range(10):
                Image.new('RGB', (12, 12), (index, 0, 0)).save(folder / f'{index}.png')
    config = small_config(
        data__name='folder',
        data__data_dir=str(tmp_path / 'images'),
        data__stream=True,
        data__image_size=8,
        data__workers=0,
        epochs=1,
    )
    main.run(config, tmp_path / 'streamed')


def _construct(tmp_path):
    split = sources.load(small_config().data).train
    np.save(tmp_path / 'scores.npy', np.zeros(len(split.images), np.float32))
    for changes in (
        {'long_tail__factor': 10.0},
        {'mixed__ratio': 0.1},
        {'removal__ratio': 0.1, 'removal__method': 'file', 'removal__scores': 'scores.npy'},
    ):
        changes = {k: str(tmp_path / v) if v == 'scores.npy' else v for k, v in changes.items()}
        construct(small_config(**changes), split)


@pytest.mark.ci
def test_every_field_is_read(read, tmp_path, monkeypatch):
    unread = Field(1, base.FIELDS['seed'].rule, 'read by nothing')
    monkeypatch.setitem(base.FIELDS, 'probe.unread', unread)
    _run(tmp_path)
    _trace_all()
    _stream(tmp_path)
    _construct(tmp_path)
    assert base.FIELDS.keys() - read == {'probe.unread'}


@pytest.mark.parametrize(
    ('typed', 'field'),
    [
        ('loss.temp', 'loss.temperature'),
        ('optimizer.lr', 'optimizer.learning_rate'),
        ('margin', 'pairs.margin'),
        ('loss.temprature', 'loss.temperature'),
        ('widht', 'model.width'),
        ('wd', 'optimizer.weight_decay'),
        ('train.epochs', 'epochs'),
        ('data.size', 'data.image_size'),
        ('pairs.temperature', 'pairs.temperature_scale'),
        ('temperature', 'loss.temperature'),
        ('los.name', 'loss.name'),
    ],
)
def test_the_field_that_is_likely_meant_is_named(typed, field):
    with pytest.raises(UserError, match=rf'the nearest is config\.{re.escape(field)};'):
        base.check_field(typed)
