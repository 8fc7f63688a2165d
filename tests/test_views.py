import numpy as np
import pytest
from PIL import Image

from contrastive_jax import views
from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.outputs import picture_suffixes
from contrastive_jax.views import draw
from tests.helpers import small_config


def test_a_picture_of_the_views_is_written(tmp_path):
    draw(small_config(data__name='digits'), tmp_path / 'views.png')
    assert (tmp_path / 'views.png').read_bytes().startswith(b'\x89PNG')


@pytest.fixture
def shown(monkeypatch):
    """Loads images that are as bright as their place; returns a list of those drawn."""
    drawn = []

    def no_change(key, images, options):
        drawn.append(images[:, 0, 0, 0])
        return np.concatenate([images, images]) / 255

    def load(labels, n):
        images = np.repeat(np.arange(n, dtype=np.uint8), 16).reshape(n, 4, 4, 1)
        split = Split(images, labels)
        monkeypatch.setattr(views.sources, 'load', lambda config: Dataset(split, split, (), split))
        monkeypatch.setattr(views, 'two_views', no_change)
        return drawn

    return load


@pytest.mark.ci
def test_images_of_a_sorted_data_set_are_of_all_classes(shown, tmp_path):
    labels = np.repeat(np.arange(8), 20)
    drawn = shown(labels, 160)
    for seed in (0, 0, 1):
        draw(small_config(seed=seed), tmp_path / 'views.png', overwrite=True)
    for places in drawn:
        np.testing.assert_array_equal(labels[places], np.arange(8))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.ci
@pytest.mark.parametrize(
    ('labels', 'n', 'count'), [(None, 30, 8), (None, 3, 3), (np.zeros(1, np.int32), 1, 1)]
)
def test_few_images_or_no_labels_are_drawn_too(shown, tmp_path, labels, n, count):
    drawn = shown(labels, n)
    draw(small_config(), tmp_path / 'views.png')
    assert len(np.unique(drawn[0])) == count


def test_views_of_images_on_disk_are_crops_of_the_whole_files(monkeypatch, tmp_path):
    # Left and right of the middle square, which alone is seen in memory.
    wide = np.full((8, 32, 3), 255, np.uint8)
    wide[:, 12:20] = 0
    images = StoredImages(lambda index: Image.fromarray(wide), np.arange(4), 'x', 8)
    split = Split(images, None)
    monkeypatch.setattr(views.sources, 'load', lambda config: Dataset(split, split, (), split))
    seen = []

    def crops(key, images, options):
        seen.append(images)
        first, second = (images[:, 0], images[:, 1]) if images.ndim == 5 else (images, images)
        return np.concatenate([first, second]) / 255

    monkeypatch.setattr(views, 'two_views', crops)
    monkeypatch.setattr(views.jax, 'jit', lambda function: function)
    for crop in (True, False):
        draw(small_config(augment__crop=crop), tmp_path / f'{crop}.png')
    with_crops, without = np.stack(seen[:10]), np.stack(seen[10:])
    assert with_crops.shape == (10, 4, 2, 8, 8, 3)
    assert with_crops.max() == 255
    assert len(np.unique(with_crops.mean(axis=(2, 3, 4, 5)))) > 20
    assert without.shape == (10, 4, 8, 8, 3)
    assert without.max() == 0


@pytest.mark.parametrize('suffix', picture_suffixes())
def test_every_suffix_that_is_accepted_can_be_written(shown, tmp_path, suffix):
    shown(None, 2)
    draw(small_config(), tmp_path / f'views{suffix}')
    assert (tmp_path / f'views{suffix}').stat().st_size > 100


def test_an_earlier_picture_is_not_overwritten(shown, tmp_path):
    shown(None, 2)
    path = tmp_path / 'views.PNG'
    path.write_text('precious')
    with pytest.raises(UserError, match='exists already; replace it with --overwrite'):
        draw(small_config(), path)
    assert path.read_text() == 'precious'
    draw(small_config(), path, overwrite=True)
    assert path.read_bytes().startswith(b'\x89PNG')
    with pytest.raises(UserError, match=r"webm': must end in .*\.png"):
        draw(small_config(), tmp_path / 'v.webm')
