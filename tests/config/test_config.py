import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from contrastive_jax import config as base
from contrastive_jax.config import files
from contrastive_jax.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs'
VARIANTS = {
    'digits': ('', 'small'),
    'cifar': ('cifar10', 'cifar100', 'small', 'cifar100_small', 'solo_learn', 'simclr', 'cpu'),
    'stl10': ('', 'small'),
    'tiny_imagenet': ('', 'small'),
    'imagenet': ('', 'small'),
    'folder': ('', 'small'),
    'ebt_denoise': ('digits', 'cifar10', 'small'),
}


def load_config(name: str, variant: str) -> ConfigDict:
    """Loads a config file by its name."""
    return files.load_config(f'{CONFIGS / name}.py:{variant}')


def test_every_config_file_is_listed_here():
    assert {path.stem for path in CONFIGS.glob('*.py')} == set(VARIANTS)


@pytest.mark.parametrize(
    ('name', 'variant'), [(name, variant) for name in VARIANTS for variant in VARIANTS[name]]
)
def test_every_config_is_valid(name, variant):
    base.validate(load_config(name, variant))


@pytest.mark.parametrize('name', VARIANTS)
def test_an_unknown_variant_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=r'variants are .*small'):
        load_config(name, 'smol')


# Nothing of this is a value of any field.
_WRONG = {
    'a list': [1],
    'a set': {1},
    'a dict': {'a': 1},
    'bytes': b'x',
    'an array': np.zeros(2),
    'an integer of NumPy': np.int64(3),
    'NaN': float('nan'),
    'infinity': float('inf'),
    'a huge integer': 10**400,
    'an object': object(),
    'a text of no print': 'a\0b',
    'an empty text': '',
}


@pytest.mark.parametrize(
    ('path', 'wrong'),
    # An empty text is the default of `arm`.
    [pair for pair in itertools.product(base.FIELDS, _WRONG) if pair != ('arm', 'an empty text')],
)
def test_no_field_takes_what_is_no_value(path, wrong):
    config = base.default()
    section, _, name = path.rpartition('.')
    with config.ignore_type():
        try:
            (config[section] if section else config)[name] = _WRONG[wrong]
        except OverflowError:  # ml_collections, of what no float can hold.
            return
    with pytest.raises(UserError, match=rf'^config\.{path}[=.]'):
        base.validate(config)


DIFFICULT = {'pairs.select': 'difficult'}
QUEUE = {'moco.queue_size': 512}
# Changes to the default, the field that the message begins with, words that it has.
BAD = [
    ({'seed': -1}, 'seed', 'at least 0'),
    ({'seed': 0.5}, 'seed', 'an integer'),
    ({'seed': 2**31}, 'seed', r'below 2\*\*31'),
    ({'arm': 'combind'}, 'arm', 'did you mean combined'),
    ({'monitor.every_epochs': -1}, 'monitor.every_epochs', 'at least 0'),
    ({'monitor.images': 1}, 'monitor.images', 'at least 2'),
    ({'arm': 'margin', 'loss.name': 'debiased'}, 'pairs.select', 'choose config.arm=simclr'),
    ({'steps': -1}, 'steps', 'at least 0'),
    ({'steps': 9, 'equal_updates': True}, 'equal_updates', 'give one of them'),
    ({'equal_updates': 1}, 'equal_updates', 'True or False'),
    ({'epochs': 0}, 'epochs', 'at least 1'),
    ({'epochs': -5}, 'epochs', 'at least 1'),
    ({'epochs': True}, 'epochs', 'an integer'),
    ({'epochs': 1.5}, 'epochs', 'an integer'),
    ({'batch_size': 1}, 'batch_size', 'at least 2'),
    ({'batch_size': '256'}, 'batch_size', 'an integer'),
    ({'precision': 'float16'}, 'precision', 'did you mean bfloat16'),
    ({'checkpoint_every': 0}, 'checkpoint_every', 'at least 1'),
    ({'checkpoint_minutes': -1.0}, 'checkpoint_minutes', 'a number >= 0'),
    ({'on_nonfinite': 'skp'}, 'on_nonfinite', 'did you mean skip'),
    ({'data.name': None}, 'data.name', 'a text'),
    ({'checkpoint_keep': -1}, 'checkpoint_keep', 'at least 0'),
    ({'init': 3}, 'init', 'a path'),
    ({'extend': 3}, 'extend', 'a path'),
    ({'init': 'a', 'extend': 'b'}, 'init', 'give one of them'),
    ({'data.data_dir': 3}, 'data.data_dir', 'a path'),
    ({'data.image_size': -1}, 'data.image_size', 'at least 0'),
    ({'data.skip_broken': 1}, 'data.skip_broken', 'True or False'),
    ({'data.stream': 'yes'}, 'data.stream', 'True or False'),
    ({'data.max_pixels': 0}, 'data.max_pixels', 'at least 1'),
    ({'data.workers': -1}, 'data.workers', 'at least 0'),
    ({'long_tail.factor': 0.5}, 'long_tail.factor', '>= 1'),
    ({'model.name': 'energy', 'pairs.select': 'difficult'}, 'model.name', 'compares no pairs'),
    ({'model.name': 'diffusion', 'moco.queue_size': 512}, 'model.name', 'compares no pairs'),
    (
        {'model.name': 'energy', 'data.name': 'x', 'data.image_size': 8, 'data.stream': True},
        'data.stream',
        'whole images',
    ),
    (
        {'mixed.ratio': 0.1, 'mixed.drop': True, 'mixed.match_contrast': True},
        'mixed.match_contrast',
        'give one of them',
    ),
    ({'data.stream': True}, 'data.name', 'in memory and keep their size'),
    ({'data.name': 'x', 'data.stream': True}, 'data.image_size', 'the side of the crops'),
    (
        {'data.name': 'x', 'data.stream': True, 'data.image_size': 8, 'mixed.ratio': 0.1},
        'mixed.ratio',
        'mixed in memory',
    ),
    ({'model.name': 'energy', 'loss.name': 'supervised'}, 'loss.name', 'has its own loss'),
    ({'model.name': 'energy', 'denoise.level': 333}, 'denoise.level', 'below 333'),
    ({'model.name': 'energy', 'denoise.least_steps': 3}, 'denoise.least_steps', 'not exceed'),
    ({'model.name': 'energy', 'denoise.steps': 3}, 'denoise.least_steps', 'has no effect'),
    ({'model.name': 'enrgy'}, 'model.name', 'did you mean energy'),
    ({'model.size': 'large'}, 'model.size', 'one of small, base'),
    ({'model.patch': 0}, 'model.patch', 'at least 1'),
    ({'denoise.step_size': 0.0}, 'denoise.step_size', 'above 0'),
    ({'denoise.step_size_spread': 0.5}, 'denoise.step_size_spread', '>= 1'),
    ({'denoise.detach': 'no'}, 'denoise.detach', 'True or False'),
    ({'denoise.langevin': -1.0}, 'denoise.langevin', '>= 0'),
    ({'denoise.loss': 'first'}, 'denoise.loss', 'one of all, last'),
    ({'denoise.steps': 0}, 'denoise.steps', 'at least 1'),
    ({'mixed.ratio': 1.5}, 'mixed.ratio', r'in \[0, 1\]'),
    ({'mixed.weight': -0.1}, 'mixed.weight', r'in \[0, 1\]'),
    ({'mixed.ratio': 1.0, 'mixed.drop': True}, 'mixed.drop', 'no image is left'),
    ({'mixed.drop': True}, 'mixed.drop', r'does nothing while config\.mixed\.ratio=0'),
    ({'mixed.match_contrast': True}, 'mixed.match_contrast', 'does nothing'),
    ({'removal.ratio': 1.0}, 'removal.ratio', r'in \[0, 1\)'),
    ({'removal.ratio': -0.1}, 'removal.ratio', r'in \[0, 1\)'),
    ({'removal.ratio': 0.2}, 'removal.scores', 'needs scores; train a run'),
    ({'removal.method': 'dificulty'}, 'removal.method', 'did you mean difficulty'),
    ({'removal.ratio': 0.2, 'removal.method': 'file'}, 'removal.scores', 'needs scores'),
    ({'augment.crop': 'no'}, 'augment.crop', 'True or False'),
    ({'augment.crop_scale': 0.0}, 'augment.crop_scale', r'in \[0.01, 1\]'),
    ({'augment.flip': 2}, 'augment.flip', r'in \[0, 1\]'),
    ({'augment.jitter': -1}, 'augment.jitter', r'in \[0, 1\]'),
    ({'augment.brightness': 1.1}, 'augment.brightness', r'in \[0, 1\]'),
    ({'augment.contrast': 1.1}, 'augment.contrast', r'in \[0, 1\]'),
    ({'augment.saturation': -0.1}, 'augment.saturation', r'in \[0, 1\]'),
    ({'augment.hue': 0.6}, 'augment.hue', r'in \[0, 0.5\]'),
    ({'augment.greyscale': 1.01}, 'augment.greyscale', r'in \[0, 1\]'),
    ({'augment.blur': 'yes'}, 'augment.blur', 'a number'),
    ({'augment.blur_sigma': 0.0}, 'augment.blur_sigma', '>= 0.1'),
    ({'model.name': 'resnet'}, 'model.name', 'did you mean resnet'),
    ({'model.name': 'resnet-50'}, 'model.name', 'did you mean resnet50'),
    ({'model.width': 0}, 'model.width', 'at least 1'),
    ({'model.stem': 'cifr'}, 'model.stem', 'did you mean cifar'),
    ({'model.projector_width': 0}, 'model.projector_width', 'at least 1'),
    ({'model.projector_dim': -8}, 'model.projector_dim', 'at least 1'),
    ({'model.sync_batch_norm': None}, 'model.sync_batch_norm', 'True or False'),
    ({'loss.name': 'spectrl'}, 'loss.name', 'did you mean spectral'),
    ({'loss.temperature': 0.0}, 'loss.temperature', 'above 0'),
    ({'loss.temperature': -0.5}, 'loss.temperature', 'above 0'),
    ({'loss.temperature': 1e-300}, 'loss.temperature', 'above 0, from 1e-18'),
    ({'loss.block_size': -1}, 'loss.block_size', 'at least 0'),
    ({'loss.mu': 0.0}, 'loss.mu', 'above 0'),
    ({'loss.tau_plus': 1.0}, 'loss.tau_plus', r'in \[0, 0.99\]'),
    ({'loss.beta': -1.0}, 'loss.beta', '>= 0'),
    ({'loss.weight_temperature': -1.0}, 'loss.weight_temperature', '>= 0'),
    ({'moco.queue_size': -1}, 'moco.queue_size', 'at least 0'),
    ({'moco.queue_size': 100}, 'moco.queue_size', 'multiple of the 256.*is 256'),
    (
        {'moco.queue_size': 768, 'moco.symmetric': True},
        'moco.queue_size',
        'multiple of the 512 keys.*is 1024',
    ),
    (QUEUE | {'loss.name': 'spectral'}, 'loss.name', 'only nt_xent'),
    (QUEUE | {'moco.shuffle': True}, 'moco.shuffle', 'has no effect'),
    ({'moco.shuffle': True}, 'moco.shuffle', 'does nothing while config.moco.queue_size=0'),
    ({'moco.symmetric': True}, 'moco.symmetric', 'does nothing while config.moco.queue_size=0'),
    ({'moco.momentum': 1.0}, 'moco.momentum', r'in \[0, 1\)'),
    ({'pairs.select': 'dificult'}, 'pairs.select', 'did you mean difficult'),
    ({'pairs.pos_high': 1.5}, 'pairs.pos_high', r'in \[0, 1\]'),
    ({'pairs.pos_low': -0.5}, 'pairs.pos_low', r'in \[0, 1\]'),
    (DIFFICULT | {'pairs.pos_high': 0.5}, 'pairs.pos_high', 'no pair is difficult'),
    ({'pairs.pos_high': 0.7}, 'pairs.pos_high', r'must not exceed config\.pairs\.pos_low'),
    (DIFFICULT | {'pairs.pos_low': 0.05}, 'pairs.pos_high', 'must not exceed'),
    (DIFFICULT | {'pairs.margin': -0.1}, 'pairs.margin', '>= 0'),
    (DIFFICULT | {'pairs.margin': 1e30}, 'pairs.margin', '>= 0'),
    (DIFFICULT | {'pairs.temperature_scale': 0.0}, 'pairs.temperature_scale', 'above 0'),
    (DIFFICULT | {'pairs.remove': 'all'}, 'pairs.remove', 'True or False'),
    (DIFFICULT | {'loss.name': 'debiased'}, 'pairs.select', 'treats no pairs'),
    (DIFFICULT | {'loss.name': 'supervised'}, 'pairs.select', 'treats no pairs'),
    ({'pairs.margin': 0.1}, 'pairs.select', 'nothing is selected'),
    ({'pairs.remove': True}, 'pairs.select', 'nothing is selected'),
    ({'pairs.temperature_scale': 0.5}, 'pairs.select', 'nothing is selected'),
    ({'pairs.select': 'all', 'pairs.remove': True}, 'pairs.remove', 'no negative would be left'),
    ({'optimizer.name': 'adam'}, 'optimizer.name', 'did you mean adamw'),
    ({'optimizer.learning_rate': -1.0}, 'optimizer.learning_rate', 'above 0'),
    ({'optimizer.warmup_epochs': 100}, 'optimizer.warmup_epochs', r'less than config\.epochs'),
    ({'optimizer.warmup_epochs': -1.0}, 'optimizer.warmup_epochs', '>= 0'),
    ({'optimizer.weight_decay': -1e-4}, 'optimizer.weight_decay', '>= 0'),
    ({'optimizer.momentum': 1.1}, 'optimizer.momentum', r'in \[0, 1\]'),
    ({'optimizer.trust_coefficient': 0.0}, 'optimizer.trust_coefficient', 'above 0'),
    ({'probe.labels_per_class': 0}, 'probe.labels_per_class', 'at least 1'),
    ({'probe.draws': 0}, 'probe.draws', 'at least 1'),
    ({'probe.validation_share': 1.0}, 'probe.validation_share', r'in \[0.01, 0.5\]'),
    ({'probe.neighbours': 0}, 'probe.neighbours', 'at least 1'),
    ({'probe.knn_temperature': 0.0}, 'probe.knn_temperature', 'above 0'),
    ({'loss.temprature': 0.5}, 'loss.temprature', r'no such field.*config\.loss\.temperature'),
    ({'los': {'name': 'nt_xent'}}, 'los.name', r'no such field.*config\.loss\.name'),
    ({'pairs': 'difficult'}, 'pairs', 'no such field'),
]


@pytest.mark.parametrize(
    ('changes', 'field', 'words'),
    [pytest.param(*row, id=f'{row[1]}-{index}') for index, row in enumerate(BAD)],
)
def test_a_bad_config_is_refused_by_name(changes, field, words):
    config = base.default()
    with config.ignore_type():
        for path, value in changes.items():
            section, _, name = path.rpartition('.')
            (config[section] if section else config)[name] = value
    with pytest.raises(UserError) as refused:
        base.validate(config)
    assert re.match(rf'config\.{re.escape(field)}[=:]', str(refused.value)), refused.value
    assert re.search(words, str(refused.value)), refused.value
    assert '\n' not in str(refused.value)


def test_every_field_has_a_bad_value_in_the_table():
    tried = {path for changes, _, _ in BAD for path in changes}
    assert base.FIELDS.keys() - tried == {'removal.scores'}


def test_a_missing_field_is_named():
    config = base.default()
    del config.pairs.margin
    with pytest.raises(UserError, match=r'config\.pairs\.margin: missing'):
        base.validate(config)


@pytest.mark.parametrize(
    'fields',
    [
        {'data.workers': 0},
        {'checkpoint_every': 7},
        {'checkpoint_minutes': 1.0},
        {'checkpoint_keep': 3},
    ],
)
def test_a_run_may_go_on_with_other_fields_that_change_no_number(fields):
    """A run that workers break, or that is killed before it saves, has to go on with others."""
    one, other = base.default(), base.default()
    other.update_from_flattened_dict(fields)
    assert one.to_dict() != other.to_dict()
    assert base.differences(one.to_dict(), other.to_dict()) == []


@pytest.mark.parametrize(
    ('path', 'changes', 'idle'),
    [
        ('optimizer.momentum', {'optimizer.name': 'adamw'}, True),
        ('optimizer.momentum', {'optimizer.name': 'sgd'}, False),
        ('removal.method', {}, True),
        ('removal.method', {'removal.ratio': 0.1}, False),
        ('moco.momentum', {}, True),
        ('loss.beta', {'loss.name': 'hard_negative'}, False),
        ('loss.beta', {'loss.name': 'debiased'}, True),
        ('augment.crop_scale', {'augment.crop': False}, True),
        ('denoise.steps', {}, True),
        ('denoise.steps', {'model.name': 'energy'}, False),
        ('denoise.steps', {'model.name': 'feedforward'}, True),
        ('denoise.langevin', {'model.name': 'diffusion'}, True),
        ('denoise.level', {'model.name': 'diffusion'}, False),
        ('seed', {}, False),
    ],
)
def test_a_given_field_without_effect_is_named(path, changes, idle):
    config = base.default()
    config.update_from_flattened_dict(changes)
    assert base.resolve(config)[1] == []
    lines = base.resolve(config, [path])[1]
    assert len(lines) == idle
    assert all(line.startswith(f'config.{path}=') and 'has no effect' in line for line in lines)


def test_a_field_needs_another_one_that_can_have_these_values():
    for path, field in base.FIELDS.items():
        if field.needs is not None:
            rule = base.FIELDS[field.needs.path].rule
            assert all(rule.holds(value) for value in field.needs.values), path


def test_no_two_fields_mean_the_same():
    meanings = [field.meaning for field in base.FIELDS.values()]
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize('path', ['pairs.pos_high', 'pairs.pos_low'])
def test_a_percentile_says_that_it_counts_from_the_most_similar_pair(path):
    meaning = base.FIELDS[path].meaning
    assert 'from the most similar pair' in meaning
    assert re.search(r'0\.\d: the (most similar tenth|less similar half)', meaning)


def test_a_stored_config_of_before_a_field_existed_means_its_default():
    config = base.default()
    stored = config.to_dict()
    del stored['denoise'], stored['moco']['shuffle'], stored['arm'], stored['steps']
    resolved, _ = base.resolve(config)
    assert base.differences(base.completed(stored), resolved.to_dict()) == []
    restored = base.restored(stored)
    assert restored.to_dict() == resolved.to_dict()
    base.validate(restored)


def test_a_stored_field_that_is_not_known_is_kept_and_named():
    stored = base.default().to_dict() | {'colour': 3}
    assert base.completed(stored)['colour'] == 3
    found = base.differences(base.completed(stored), base.resolve(base.default())[0].to_dict())
    assert found == ['colour: 3 there, absent here']
    with pytest.raises(UserError, match=r'^config\.colour: no such field'):
        base.restored(stored)


@pytest.mark.parametrize('damage', [{'arm': 3}, {'pairs': 'difficult'}, {'pairs': {'margin': 'x'}}])
def test_a_damaged_stored_config_is_completed_as_far_as_it_goes(damage):
    completed = base.completed(base.default().to_dict() | damage)
    assert completed.items() >= base.flatten(damage).items()
    with pytest.raises(UserError, match=r'^config\.(arm|pairs)'):
        base.validate(base.restored(completed))


def test_differences_name_both_values():
    one, other = base.default(), base.default()
    other.pairs.margin = 0.2
    other.seed = 4
    assert base.differences(one.to_dict(), other.to_dict()) == [
        'pairs.margin: 0.0 there, 0.2 here',
        'seed: 0 there, 4 here',
    ]


def test_two_spellings_of_a_path_are_no_difference():
    one, other = ({'data': {'data_dir': path}} for path in ('/images', '/images//'))
    assert base.differences(one, other) == []
    assert base.differences(one, {'data': {'data_dir': '/image'}}) != []
