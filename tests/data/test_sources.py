import os
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from contrastive_jax.data import sources
from contrastive_jax.errors import UserError
from tests.helpers import write_npz


def _config(name, data_dir=None):
    return ConfigDict({'name': name, 'data_dir': None if data_dir is None else str(data_dir)})


def test_digits_are_split_by_class_and_always_alike():
    dataset = sources.load(_config('digits'))
    assert dataset.train.images.shape == (1347, 8, 8, 1)
    assert dataset.test.images.shape == (450, 8, 8, 1)
    assert dataset.train.images.max() == 255
    counts = np.bincount(dataset.test.labels)
    assert counts.min() >= 43
    assert counts.max() <= 46
    np.testing.assert_array_equal(dataset.test.labels, sources.load(_config('digits')).test.labels)


def test_npz_with_and_without_labels(tmp_path):
    dataset = sources.load(_config('npz', write_npz(tmp_path / 'a.npz')))
    assert dataset.train.images.shape == (40, 8, 8, 1)
    assert dataset.classes == ('0', '1')
    bare = sources.load(_config('npz', write_npz(tmp_path / 'b.npz', labels=False)))
    assert bare.train.labels is None
    assert bare.classes == ()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'train_images': np.zeros((4, 8, 8, 3), np.float32)}, 'images are float32'),
        ({'train_images': np.zeros((4, 8, 8), np.uint8)}, r'\[4, 8, 8\]'),
        ({'train_images': np.zeros((4, 8, 8, 4), np.uint8)}, 'c 1 or 3'),
        ({'train_images': np.zeros((0, 8, 8, 3), np.uint8)}, 'no images'),
        ({'test_images': np.zeros((4, 9, 9, 3), np.uint8)}, 'one shape'),
        ({'train_labels': np.zeros(3, np.int64)}, 'for 4 images'),
        ({'train_labels': np.zeros(4)}, 'train_labels are float64'),
        ({'train_labels': np.full(4, -1)}, 'integers from 0'),
        ({'train_images': None}, 'lacks train_images'),
    ],
)
def test_bad_arrays_are_named(tmp_path, change, words):
    arrays = {name: np.zeros((4, 8, 8, 3), np.uint8) for name in ('train_images', 'test_images')}
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    np.savez(tmp_path / 'bad.npz', **arrays)
    with pytest.raises(UserError, match=words):
        sources.load(_config('npz', tmp_path / 'bad.npz'))


def test_a_pickle_is_not_opened(tmp_path):
    np.savez(tmp_path / 'p.npz', train_images=np.array([{}], object), test_images=np.zeros(1))
    with pytest.raises(UserError, match='cannot be read'):
        sources.load(_config('npz', tmp_path / 'p.npz'))


@pytest.mark.parametrize(
    ('name', 'data_dir', 'words'),
    [
        ('npz', 'missing.npz', 'no such file'),
        ('cifar10', 'missing', 'no such folder.*download_and_prepare'),
        ('cifar10', '.', 'no prepared cifar10.*download_and_prepare'),
        ('cifer10', '.', 'must be digits, npz, or the name'),
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_missing_data_says_how_to_prepare_it(tmp_path, name, data_dir, words):
    with pytest.raises(UserError, match=words):
        sources.load(_config(name, tmp_path / data_dir))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / 'x.npz').write_bytes(b'PK no archive')
    with pytest.raises(UserError, match=r'x\.npz.*cannot be read'):
        sources.load(_config('npz', tmp_path / 'x.npz'))


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_cifar10_is_read_where_it_is_prepared():
    folder = os.environ.get('CIFAR10_DIR')
    if not folder or not Path(folder).is_dir():
        pytest.skip('CIFAR10_DIR names no folder prepared by TFDS')
    dataset = sources.load(_config('cifar10', folder))
    assert dataset.train.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert dataset.classes[3] == 'cat'
