"""Config files that are found by name."""

import pytest

from contrastive_jax.config.files import load_config
from contrastive_jax.config.shipped import check_config_files, config_file, place_in_config
from contrastive_jax.errors import UserError


def test_a_folder_of_the_name_of_a_config_hides_it_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'digits').mkdir()
    assert config_file('digits:small').endswith('configs/digits.py:small')
    (tmp_path / 'own').touch()
    assert config_file('own:small') == 'own:small'


@pytest.mark.parametrize('arguments', [['--config=digts'], ['--config', 'configs/digts.py:small']])
def test_a_name_of_no_file_is_told_the_names(arguments):
    with pytest.raises(
        UserError, match=r'digts.*: no such file; give a path, or one of cifar, dig'
    ):
        check_config_files(['main', *arguments, '--workdir=x'])


def test_files_pass(tmp_path):
    (tmp_path / 'own.py').touch()
    check_config_files(['main', f'--config={tmp_path}/own.py:small', '--config.epochs=1'])


@pytest.mark.parametrize(
    ('value', 'kind'),
    [
        ("{}['x']", 'KeyError'),
        ("config_of(__file__, variant, {'': {'epochs': 1.5}})", 'TypeError'),
        ("config_of(__file__, 'small', {'': {}})", ''),
    ],
)
def test_an_error_in_a_config_file_has_its_line(tmp_path, value, kind):
    path = tmp_path / 'own.py'
    path.write_text(
        'from contrastive_jax.config.files import config_of\n\n'
        f"def get_config(variant=''):\n    return {value}\n"
    )
    with pytest.raises((KeyError, TypeError, ValueError)) as caught:
        load_config(str(path))
    # A message that names the file already needs no line.
    expected = f'{path}, line 4: {kind}: ' if kind else ''
    assert place_in_config(caught.value, ['main', f'--config={path}']) == expected
