import sys

import pytest

from contrastive_jax.errors import UserError
from studies import agreement, landmarks, predicted_order
from studies.inputs import config_from
from studies.outputs import command
from tests.helpers import write_config


def test_only_what_is_set_replaces_the_config(tmp_path, monkeypatch):
    config = write_config(tmp_path / 'config.py', data__data_dir='of the file', epochs=7)
    monkeypatch.setenv('HOME', str(tmp_path))
    as_it_is, other = (config_from(str(config), *options) for options in ((None,), ('~/data', 3)))
    assert (as_it_is.data.data_dir, as_it_is.epochs) == ('of the file', 7)
    assert (other.data.data_dir, other.epochs) == (f'{tmp_path}/data', 3)


def test_agreement_takes_a_folder_of_data(tmp_path, monkeypatch):
    options = ['--config=configs/ebt_denoise.py:cifar10', f'--data_dir={tmp_path}/nowhere']
    monkeypatch.setattr(sys, 'argv', ['agreement', *options])

    def load(data):
        raise UserError(data.data_dir)

    monkeypatch.setattr(agreement.sources, 'load', load)
    with pytest.raises(SystemExit, match=rf'^error: {tmp_path}/nowhere$'):
        command(agreement.main)


def test_a_run_in_the_home_folder_is_named_without_a_flag_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setattr(landmarks, 'noise', lambda: None)
    monkeypatch.setattr(sys, 'argv', ['landmarks', '--runs', 'a=~/run', f'--out={tmp_path}/out'])
    with pytest.raises(SystemExit, match=rf'^error: {tmp_path}/run'):
        command(landmarks.main)


def test_a_folder_of_no_run_is_a_line_with_the_prefix_of_all_studies(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['predicted_order', f'--runs={tmp_path}/nowhere'])
    with pytest.raises(SystemExit, match=rf'^error: {tmp_path}/nowhere: no such folder'):
        command(predicted_order.main)
