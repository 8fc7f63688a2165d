import multiprocessing
import signal
from contextlib import closing
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from contrastive_jax.data import stored
from contrastive_jax.data.batches import prefetch, step_indices
from contrastive_jax.data.constructions import construct
from contrastive_jax.data.image_files import BrokenImage
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.data.sources import Split
from contrastive_jax.data.stored import StoredImages, checksum, in_memory, random_crop
from contrastive_jax.data.streaming import stream_views
from contrastive_jax.errors import LoneError, UserError
from contrastive_jax.models import pixel_moments
from contrastive_jax.training import loop
from tests.data.readers import noise, one_colour
from tests.helpers import small_config, taken_away

N, SIZE = 20, 8


@pytest.fixture
def images():
    return StoredImages(one_colour, np.arange(N), 'colours', SIZE)


def _stream(images, steps=range(5), workers=0, **changes):
    options = {'seed': 0, 'batch_size': 6, 'smallest': 0.2} | changes
    labels = np.arange(N, dtype=np.int32)[images.indices] % 3
    return list(stream_views(images, labels, steps=steps, workers=workers, **options))


def test_stored_images_look_like_an_array(images):
    assert images.shape == (N, SIZE, SIZE, 3)
    assert len(images) == N
    np.testing.assert_array_equal(images[3:5][:, 0, 0, 0], [30, 40])
    some = images.take(np.array([7, 2]))
    np.testing.assert_array_equal(some[np.array([1, 0])][:, 0, 0, 0], [20, 70])
    assert images[20:].shape == (0, SIZE, SIZE, 3)


def test_the_middle_is_cut_from_the_shorter_side():
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, 4:12] = 200

    found = StoredImages(lambda place: Image.fromarray(picture), np.arange(1), 'one', 8)[0:1]
    np.testing.assert_array_equal(found, 200)


def test_the_order_is_that_of_training_from_memory(images):
    for step, (crops, labels) in enumerate(_stream(images)):
        indices = step_indices(0, step, N, 6)
        assert crops.shape == (6, 2, SIZE, SIZE, 3)
        np.testing.assert_array_equal(crops[:, 0, 0, 0, 0], 10 * indices)
        np.testing.assert_array_equal(crops[:, 1, 0, 0, 0], 10 * indices)
        np.testing.assert_array_equal(labels, indices % 3)


@pytest.mark.ci
@pytest.mark.filterwarnings('ignore')
def test_workers_leave_signals_to_the_run():
    """Ctrl-C on a terminal reaches them too, while the run takes its last step and saves."""
    views = stream_views(
        StoredImages(noise, np.arange(N), 'noise', SIZE),
        None,
        seed=0,
        batch_size=6,
        steps=range(3),
        smallest=0.2,
        workers=1,
    )
    with closing(prefetch(views, lambda batch: batch)) as batches:
        next(batches)
        (worker,) = multiprocessing.active_children()
        lines = Path(f'/proc/{worker.pid}/status').read_text().splitlines()
        (blocked,) = (int(line.split()[1], 16) for line in lines if line.startswith('SigBlk'))
    for number in (signal.SIGINT, signal.SIGTERM):
        assert blocked >> (number - 1) & 1


def test_workers_and_resuming_change_no_batch():
    images = StoredImages(noise, np.arange(N), 'noise', SIZE)
    whole = [crops for crops, _ in _stream(images, range(7))]
    # Three steps an epoch: step 4 is in the middle of the second.
    for workers in (0, 2):
        resumed = [crops.copy() for crops, _ in _stream(images, range(4, 7), workers=workers)]
        np.testing.assert_array_equal(np.stack(resumed), np.stack(whole[4:]))
    assert not np.array_equal(whole[0][:, 0], whole[0][:, 1])
    again = _stream(images, range(1), seed=1)[0][0]
    assert not np.array_equal(again, whole[0])


def test_processes_read_parts_of_the_same_batches():
    images = StoredImages(noise, np.arange(N), 'noise', SIZE)
    whole = _stream(images)
    parts = [_stream(images, rows=slice(first, first + 2)) for first in (0, 2, 4)]
    for step, (crops, labels) in enumerate(whole):
        found = [part[step] for part in parts]
        np.testing.assert_array_equal(np.concatenate([views for views, _ in found]), crops)
        np.testing.assert_array_equal(np.concatenate([classes for _, classes in found]), labels)


def test_a_process_resumes_its_own_part():
    images = StoredImages(noise, np.arange(N), 'noise', SIZE)
    unbroken, resumed = _stream(images), _stream(images, range(2, 5), rows=slice(2, 4))
    for (part, _), (crops, _) in zip(resumed, unbroken[2:], strict=True):
        np.testing.assert_array_equal(part, crops[2:4])


@pytest.mark.parametrize(
    ('error', 'says'),
    [
        (BrokenImage('a.png', 'OSError: truncated'), r'^a\.png: cannot be read \(OSError: trunc'),
        (OSError('read\nfailed'), '^OSError: read failed$'),
    ],
)
def test_one_of_several_processes_is_alone_with_what_it_cannot_read(error, says, monkeypatch):
    def fail(place):
        raise error

    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(LoneError, match=says):
        _stream(StoredImages(fail, np.arange(N), 'none', SIZE))


def test_without_random_crops_both_views_are_the_middle(images):
    crops, _ = _stream(images, range(1), smallest=None)[0]
    np.testing.assert_array_equal(crops[:, 0], crops[:, 1])
    np.testing.assert_array_equal(crops[:, 0], images[step_indices(0, 0, N, 6)])


def test_crops_have_the_sizes_that_are_asked_for():
    # A horizontal and a vertical ramp tell where a crop was taken, and how large it is.
    y, x = np.mgrid[0:200, 0:200]
    picture = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    areas, ratios = [], []
    for seed in range(300):
        crop = random_crop(picture, np.random.default_rng(seed), smallest=0.2, size=32)
        across, down = (np.ptp(crop[..., axis].astype(float)) * 32 / 31 for axis in (0, 1))
        areas.append(across * down / 200**2)
        ratios.append(across / down)
    assert 0.17 < min(areas) < 0.25
    assert 0.85 < max(areas) < 1.05
    assert np.mean(areas) == pytest.approx(0.57, abs=0.05)
    assert 0.7 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.4


def test_crops_lie_anywhere_and_are_as_often_wide_as_high():
    y, x = np.mgrid[0:200, 0:200]
    picture = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    places, ratios = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        crop = random_crop(picture, rng, smallest=0.2, size=32)[..., :2].astype(float)
        size = np.ptp(crop, axis=(0, 1))
        places.append(crop.min(axis=(0, 1)) / (200 - size))
        ratios.append(size[0] / size[1])
    assert abs(np.corrcoef(np.transpose(places))[0, 1]) < 0.2
    assert np.mean(np.log(ratios)) == pytest.approx(0, abs=0.015)


def test_moments_are_those_of_a_sample(images):
    exact = pixel_moments(images[:])
    np.testing.assert_allclose(pixel_moments(in_memory(images)), exact)
    assert in_memory(images[:3]).shape == (3, SIZE, SIZE, 3)


def test_the_sample_for_moments_is_drawn_from_all_images(images, monkeypatch):
    monkeypatch.setattr(stored, '_SAMPLE', 8)
    drawn = in_memory(images)[:, 0, 0, 0] // 10
    assert len(set(drawn.tolist())) == 8
    assert drawn.max() > 10


def test_samples_are_removed_unread(images, tmp_path):
    split = Split(images, np.arange(N, dtype=np.int32) % 3)
    config = small_config(removal__method='random', removal__ratio=0.25)
    built = construct(config, split)
    assert isinstance(built.split.images, StoredImages)
    np.testing.assert_array_equal(built.split.images.indices, built.kept)
    np.testing.assert_array_equal(built.split.labels, built.kept % 3)
    path = tmp_path / 'scores.npz'
    write_scores(path, ScoreFile({'score': np.arange(N) / N}, checksum(images)))
    config.removal.update(method='difficulty', scores=str(path))
    np.testing.assert_array_equal(construct(config, split).kept, np.arange(15))
    with pytest.raises(UserError, match=r'mixed\.ratio=0\.1: images are mixed in memory'):
        construct(small_config(mixed__ratio=0.1), split)


@pytest.mark.ci
@pytest.mark.filterwarnings('ignore')
def test_training_from_disk_resumes_as_the_unbroken_run(images, tmp_path, monkeypatch):
    config = small_config(epochs=4, checkpoint_every=2, batch_size=8, data__workers=0)
    split = Split(images, np.arange(N, dtype=np.int32) % 3)
    for name in ('whole', 'broken'):
        (tmp_path / name).mkdir()
    whole = loop.pretrain(config, split, tmp_path / 'whole')
    broken = taken_away(monkeypatch, 'split_over_devices', 5)
    with broken, pytest.raises(RuntimeError, match='taken away'):
        loop.pretrain(config, split, tmp_path / 'broken')
    resumed = loop.pretrain(config, split, tmp_path / 'broken')
    assert int(resumed.final.step) == 8
    equal = partial(jax.tree.map, np.testing.assert_array_equal)
    equal(whole.final.params, resumed.final.params)
