"""Arms: as the table of the README has them, from the command line to what is trained."""

import json
import re
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest
from absl import flags
from ml_collections import config_flags

from contrastive_jax import config as base
from contrastive_jax import main
from contrastive_jax.config.arms import ARMS
from contrastive_jax.config.files import config_of
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import cli
from contrastive_jax.tasks.objective import make_objective
from tests.helpers import small_config
from tests.marks import in_ci

ROOT = Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text()
# What an arm trains: select, remove, margin and temperature_scale.
TRAINED = {
    'simclr': ('none', False, 0.0, 1.0),
    'removal': ('difficult', True, 0.0, 1.0),
    'margin': ('difficult', False, 0.1, 1.0),
    'temperature': ('difficult', False, 0.0, 0.7),
    'combined': ('difficult', False, 0.1, 0.7),
    'margin_all': ('all', False, 0.1, 1.0),
    'temperature_all': ('all', False, 0.0, 0.7),
}
SELECT, REMOVE = 'pairs.select', 'pairs.remove'
MARGIN, SCALE = 'pairs.margin', 'pairs.temperature_scale'
FIELDS = (SELECT, REMOVE, MARGIN, SCALE)
# ml_collections loads config files by a function that Python will drop.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


def parse(*arguments):
    """The config of a command line, and what it prints."""
    values, line = flags.FlagValues(), ['command', *arguments]
    config_flags.DEFINE_config_file('config', None, 'Config file.', flag_values=values)
    # Where ml_collections looks for the fields.
    with mock.patch.object(sys, 'argv', line):
        values(line)
        return cli.config_of_flags(values)


def trained(config):
    pairs = config.pairs
    return pairs.select, pairs.remove, pairs.margin, pairs.temperature_scale


def given(config='configs/digits.py:small', **fields):
    """As `parse`, of fields with `__` for the dot."""
    texts = (f'--config.{path.replace("__", ".")}={value}' for path, value in fields.items())
    return parse(f'--config={ROOT}/{config}', *texts)


@pytest.mark.parametrize('config', ['configs/digits.py:small', 'configs/cifar.py:small'])
@pytest.mark.parametrize('arm', ARMS)
def test_every_arm_trains_what_it_is_named_for(arm, config):
    resolved, words = given(config, arm=arm)
    assert (resolved.arm, trained(resolved)) == (arm, TRAINED[arm])
    assert words == []


def test_the_rows_of_the_readme_are_all_arms():
    rows = set(re.findall(r'--config\.arm=(\w+)', README))
    assert rows == set(ARMS)


def _commands():
    joined = README.replace('\\\n', ' ')
    lines = re.findall(r'contrastive_jax\.main (--config=.*)', joined)
    return [shlex.split(line.partition('[')[0]) for line in lines if '...' not in line]


@pytest.mark.parametrize('arguments', _commands(), ids=' '.join)
def test_commands_of_the_readme_are_valid(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    parse(*(a for a in arguments if a.startswith('--config')))


@pytest.mark.parametrize('name', sorted(path.stem for path in (ROOT / 'configs').glob('*.py')))
def test_configs_train_with_a_margin_unless_told_otherwise(name):
    config, words = given(f'configs/{name}.py')
    if name == 'ebt_denoise':
        assert config.arm == 'simclr'  # A denoiser compares no pairs.
        return
    assert (config.arm, trained(config), words) == ('margin', TRAINED['margin'], [])


# Fields on the command line, what is then trained, and whether a word is said.
SINGLE = [
    ({SELECT: 'none'}, 'simclr', TRAINED['simclr'], True),
    ({SELECT: 'none', MARGIN: 0.0}, 'simclr', TRAINED['simclr'], True),
    ({REMOVE: True}, 'removal', TRAINED['removal'], True),
    ({SELECT: 'all'}, 'margin_all', TRAINED['margin_all'], True),
    ({MARGIN: 0.2}, 'margin', ('difficult', False, 0.2, 1.0), False),
    ({SCALE: 0.5}, 'combined', ('difficult', False, 0.1, 0.5), True),
    ({MARGIN: 0.0}, '', ('difficult', False, 0.0, 1.0), True),
    ({'arm': 'temperature', MARGIN: 0.2}, 'combined', ('difficult', False, 0.2, 0.7), True),
    ({'arm': 'temperature', SCALE: 1.1}, 'temperature', ('difficult', False, 0.0, 1.1), False),
    ({'arm': 'simclr', SELECT: 'none'}, 'simclr', TRAINED['simclr'], False),
    ({'arm': 'margin', SELECT: 'all'}, 'margin_all', TRAINED['margin_all'], True),
    ({'arm': '', SELECT: 'difficult'}, 'combined', TRAINED['combined'], False),
    ({'arm': 'simclr', MARGIN: 0.2}, 'margin', ('difficult', False, 0.2, 1.0), True),
    ({'arm': 'simclr', SELECT: 'all'}, '', ('all', False, 0.0, 1.0), True),
    ({'arm': 'removal', MARGIN: 0.2}, 'margin', ('difficult', False, 0.2, 1.0), True),
    ({'arm': 'margin', MARGIN: 0.0}, '', ('difficult', False, 0.0, 1.0), True),
    ({'arm': 'margin', SELECT: 'none'}, 'simclr', TRAINED['simclr'], True),
    ({'arm': 'margin_all', REMOVE: True}, 'removal', TRAINED['removal'], True),
    ({'arm': 'combined', MARGIN: 0.0}, 'temperature', TRAINED['temperature'], True),
]


@pytest.mark.parametrize(('fields', 'arm', 'expected', 'said'), SINGLE)
def test_single_fields_win_over_the_arm_with_a_word(fields, arm, expected, said):
    resolved, words = given(**fields)
    assert (resolved.arm, trained(resolved)) == (arm, expected)
    assert bool(words) == said
    # A resolved config is what it is, and no more is said of it.
    again, silence = base.resolve(resolved)
    assert (again.to_dict(), silence) == (resolved.to_dict(), [])


def test_the_word_names_arm_field_and_outcome():
    _, words = given(arm='margin', pairs__temperature_scale=0.5)
    assert words == [
        'config.arm=margin, but config.pairs.temperature_scale=0.5 is given on the command line: '
        'both are applied (config.arm=combined)'
    ]


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'arm': 'simclr', SELECT: 'none', MARGIN: 0.2}, r'nothing is selected'),
        ({'arm': 'margin', REMOVE: True, MARGIN: 0.2}, r'a removed pair has no config'),
        ({'arm': 'removal', SELECT: 'all'}, r'no negative would be left'),
        ({REMOVE: True, MARGIN: 0.2}, r'leave out one of them, or name one arm'),
        ({SELECT: 'none', MARGIN: 0.2}, r'nothing is selected.*name an arm instead'),
        ({SELECT: 'all', REMOVE: True}, r'no negative would be left; choose config\.arm=removal'),
        ({'arm': 'marign'}, r"arm='marign': must be one of simclr.*did you mean margin"),
    ],
)
def test_contradictions_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        given(**fields)


@pytest.mark.parametrize(
    ('arm', 'fields', 'outcome'),
    [
        ('simclr', {MARGIN: 0.2}, ('margin', ('difficult', False, 0.2, 1.0))),
        ('simclr', {REMOVE: True}, ('removal', TRAINED['removal'])),
        ('margin_all', {REMOVE: True}, ('removal', TRAINED['removal'])),
        ('removal', {SCALE: 0.5}, ('temperature', ('difficult', False, 0.0, 0.5))),
        ('combined', {SCALE: 1.0}, ('margin', TRAINED['margin'])),
    ],
)
def test_a_field_given_wins_over_any_arm_of_a_file(arm, fields, outcome):
    config = base.default()
    config.arm = arm
    config.update_from_flattened_dict(fields)
    resolved, words = base.resolve(config, fields)
    assert (resolved.arm, trained(resolved)) == outcome
    assert words


def test_a_margin_in_a_config_of_removed_pairs_does_nothing():
    config = base.default()
    config.pairs.update(select='difficult', remove=True, margin=0.3)
    resolved, words = base.resolve(config)
    assert (resolved.arm, trained(resolved)) == ('removal', TRAINED['removal'])
    assert words == [
        'config.pairs.margin=0.3: switched off, without effect with config.pairs.remove=True'
    ]


@pytest.mark.parametrize('variant', ['solo_learn', 'simclr'])
def test_variants_of_plain_simclr_train_plain_simclr(variant):
    config, words = given(f'configs/cifar.py:{variant}')
    assert (config.arm, trained(config), words) == ('simclr', TRAINED['simclr'], [])


@pytest.mark.parametrize(
    'values',
    [
        {SELECT: 'none'},
        {SELECT: 'all'},
        {MARGIN: 0.0},
        {REMOVE: True},
        {SELECT: 'none', MARGIN: 0.0},
    ],
)
def test_a_config_file_that_contradicts_its_arm_is_refused(values):
    with pytest.raises(ValueError, match=r"mine\.py:a: sets arm='margin', which sets pairs\.\w+"):
        config_of('mine.py', 'a', {'a': values}, {'arm': 'margin'})


def test_strengths_of_other_arms_are_no_contradiction():
    config = config_of('mine.py', '', {'': {'arm': 'margin', MARGIN: 0.2, SCALE: 0.5}})
    assert trained(base.resolve(config)[0]) == ('difficult', False, 0.2, 1.0)


def test_an_arm_of_any_file_says_which_fields_it_overrules():
    config = base.default()
    config.arm = 'margin'
    config.pairs.select = 'all'
    _, words = base.resolve(config)
    assert words == [
        "config.arm=margin of the config file overrules config.pairs.select='all' beside it"
    ]
    assert base.resolve(config, ['arm'])[1] == []
    assert base.resolve(base.resolve(config)[0])[1] == []


def test_strengths_are_those_of_the_config_or_the_usual_ones():
    config = base.default()
    config.arm = 'combined'
    assert trained(base.resolve(config)[0]) == TRAINED['combined']
    config.pairs.margin = 0.3
    assert trained(base.resolve(config)[0]) == ('difficult', False, 0.3, 0.7)


def test_a_step_that_is_built_without_the_command_has_its_arm_too(monkeypatch):
    seen = []
    monkeypatch.setattr(
        'contrastive_jax.objectives.nt_xent', lambda *_, **options: (seen.append(options), {})
    )
    make_objective(small_config(arm='margin_all'))(None, None, None)
    assert (seen[0]['pairs'], seen[0]['margin']) == ('all', 0.1)


@pytest.mark.filterwarnings('ignore')  # Of Orbax and its event loop.
# Plain NT-Xent is what many other tests train.
@pytest.mark.parametrize(
    'arm', [pytest.param('simclr', marks=pytest.mark.slow), *in_ci('temperature')]
)
def test_an_arm_is_trained_from_the_command_line(arm, tmp_path, capsys):
    config, words = given(arm=arm)
    small = small_config(epochs=1)
    config.update(epochs=1, model=small.model, probe=small.probe, augment=small.augment)
    config.optimizer.warmup_epochs = 0.0
    main.run(config, tmp_path / 'run')
    stored = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert stored['arm'] == arm
    assert tuple(base.flatten(stored)[path] for path in FIELDS) == TRAINED[arm]
    line = json.loads((tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()[0])
    assert (line['selected_share'] > 0) == (arm == 'temperature')
    assert f'arm {arm}: select={TRAINED[arm][0]}' in capsys.readouterr().out
    assert words == []
