import json

import pytest

from contrastive_jax.errors import UserError
from contrastive_jax.runs.loading import load_run
from tests.helpers import small_config


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'colour': 3}, r'config\.json: config\.colour: no such field.*another version'),
        ({'epochs': -1}, r'config\.json: config\.epochs=-1: must be'),
        ({}, 'holds no checkpoint'),
    ],
)
def test_what_a_stored_config_does_not_say_is_named(tmp_path, change, words):
    config = small_config().to_dict()
    # As of a run of before there were denoisers.
    del config['denoise'], config['arm']
    (tmp_path / 'config.json').write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=words):
        load_run(tmp_path)
