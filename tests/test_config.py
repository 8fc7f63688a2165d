import importlib.util
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from contrastive_jax import config as base
from contrastive_jax.errors import UserError

CONFIGS = Path(__file__).parents[1] / 'configs'
VARIANTS = {
    'digits': ('', 'small'),
    'cifar': ('cifar10', 'cifar100', 'small', 'cifar100_small'),
    'stl10': ('', 'small'),
    'tiny_imagenet': ('', 'small'),
    'imagenet': ('', 'small'),
    'folder': ('', 'small'),
}


def load_config(name: str, variant: str) -> ConfigDict:
    """Loads a config file as the command line does."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()


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


@pytest.mark.parametrize('path', base.FIELDS)
def test_no_field_takes_an_object(path):
    config = base.default()
    with config.ignore_type():
        config.update_from_flattened_dict({path: [1]})
    with pytest.raises(UserError, match=rf'config\.{path}=\[1\]: must be'):
        base.validate(config)


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        ('seed', -1, 'at least 0'),
        ('epochs', 0, 'at least 1'),
        ('epochs', True, 'an integer'),
        ('batch_size', 1, 'at least 2'),
        ('precision', 'float16', 'did you mean bfloat16'),
        ('model.name', 'resnet', 'did you mean resnet'),
        ('loss.temperature', 0.0, 'above 0'),
        ('loss.temperature', float('nan'), 'above 0'),
        ('loss.temperature', float('inf'), 'above 0'),
        ('pairs.select', 'dificult', 'did you mean difficult'),
        ('pairs.pos_high', 1.5, r'in \[0, 1\]'),
        ('pairs.pos_high', 0.7, 'must not exceed'),
        ('pairs.margin', -0.1, '>= 0'),
        ('pairs.temperature_scale', 0.0, 'above 0'),
        ('pairs.margin', 0.1, 'nothing is selected'),
        ('pairs.remove', True, 'nothing is selected'),
        ('pairs.temperature_scale', 0.5, 'nothing is selected'),
        ('loss.name', 'spectrl', 'did you mean spectral'),
        ('loss.tau_plus', 1.0, r'in \[0, 0.99\]'),
        ('optimizer.learning_rate', -1.0, 'above 0'),
        ('optimizer.warmup_epochs', 100, 'less than'),
        ('mixed.ratio', 1.5, r'in \[0, 1\]'),
        ('removal.ratio', 1.0, r'in \[0, 1\)'),
        ('removal.ratio', -0.1, r'in \[0, 1\)'),
        ('removal.ratio', 0.2, 'needs scores; train a run'),
        ('removal.method', 'dificulty', 'did you mean difficulty'),
        ('augment.crop_scale', 0.0, r'in \[0.01, 1\]'),
        ('augment.hue', 0.6, r'in \[0, 0.5\]'),
        ('probe.validation_share', 1.0, r'in \[0.01, 0.5\]'),
    ],
)
def test_a_bad_value_is_refused_by_name(path, value, words):
    config = base.default()
    with config.ignore_type():
        config.update_from_flattened_dict({path: value})
    section = path.split('.')[0]
    with pytest.raises(UserError, match=rf'config\.{section}.*{words}'):
        base.validate(config)


def test_removing_every_negative_is_refused():
    config = base.default()
    config.pairs.select = 'all'
    config.pairs.remove = True
    with pytest.raises(UserError, match='no negative would be left'):
        base.validate(config)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'moco.queue_size': 100}, r'moco\.queue_size=100: must be a multiple of the 256.*is 256'),
        ({'moco.queue_size': 768, 'moco.symmetric': True}, r'multiple of the 512 keys.*is 1024'),
        ({'moco.queue_size': 512, 'loss.name': 'spectral'}, r'loss\.name.*only nt_xent'),
        ({'moco.queue_size': 512, 'moco.shuffle': True}, r'moco\.shuffle=True: does nothing'),
        ({'moco.momentum': 1.0}, r'moco\.momentum=1\.0: must be a number in \[0, 1\)'),
        ({'long_tail.factor': 0.5}, r'long_tail\.factor=0\.5: must be a number >= 1'),
    ],
)
def test_a_queue_that_does_not_fit_is_refused(changes, words):
    config = base.default()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=words):
        base.validate(config)


def test_dropping_every_image_is_refused():
    config = base.default()
    config.mixed.update(ratio=1.0, drop=True)
    with pytest.raises(UserError, match='no image is left'):
        base.validate(config)


def test_a_loss_that_treats_no_pairs_takes_no_selection():
    config = base.default()
    config.loss.name = 'debiased'
    config.pairs.select = 'difficult'
    with pytest.raises(UserError, match=r'config\.pairs\.select.*treats no pairs'):
        base.validate(config)


def test_an_unknown_field_names_the_nearest():
    config = base.default()
    config.loss.temprature = 0.5
    with pytest.raises(UserError, match=r'loss\.temprature: no such field.*loss\.temperature'):
        base.validate(config)


def test_a_missing_field_is_named():
    config = base.default()
    del config.pairs.margin
    with pytest.raises(UserError, match=r'config\.pairs\.margin: missing'):
        base.validate(config)


def test_differences_name_both_values():
    one, other = base.default(), base.default()
    other.pairs.margin = 0.2
    other.seed = 4
    assert base.differences(one.to_dict(), other.to_dict()) == [
        'pairs.margin: 0.0 there, 0.2 here',
        'seed: 0 there, 4 here',
    ]
