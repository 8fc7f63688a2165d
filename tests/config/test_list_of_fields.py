"""The list of the config fields, as a reader sees it."""

import pytest

from contrastive_jax.config import FIELDS
from contrastive_jax.config.__main__ import describe
from contrastive_jax.errors import UserError


def test_every_field_is_listed_with_its_default_and_meaning():
    lines = describe().splitlines()
    heads = [line for line in lines if not line.startswith(' ')]
    assert heads == [f'config.{path}={field.default!r}' for path, field in FIELDS.items()]
    assert max(map(len, lines)) <= 100
    text = ' '.join(line.strip() for line in lines)
    for field in FIELDS.values():
        assert field.meaning in text
        assert f'Allowed: {field.rule.allowed}.' in text


def test_fields_are_found_by_a_part_of_their_path():
    assert describe(['seed']).startswith('config.seed=0')
    assert describe(['config.monitor.']).count('config.') == 2
    # No path has this word, and the meaning of one field has.
    assert describe(['simclr']).startswith('config.moco.queue_size=0')
    with pytest.raises(UserError, match=r'lr: .*the nearest is config\.optimizer\.learning_rate'):
        describe(['lr'])
    with pytest.raises(UserError, match='monitr: no field has this in its path'):
        describe(['monitr'])
