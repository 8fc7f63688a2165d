import pytest

from contrastive_jax.evaluation.tiles import plan
from tests.evaluation.scored import K, N


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of a few anchors, blocks of a few rows, and a device that holds only these."""
    monkeypatch.setattr(plan, '_TILE_FLOPS', 2 * N * K * 4)
    monkeypatch.setattr(plan, '_LEAST_ANCHORS', 2)
    monkeypatch.setattr(plan, '_BLOCK_BYTES', 4 * K * 50)
    monkeypatch.setattr(plan, 'default_block', lambda n: 4)
