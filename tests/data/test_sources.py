import os
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets
from sklearn.model_selection import train_test_split

from contrastive_jax.config import default
from contrastive_jax.data import sources
from contrastive_jax.data.splits import image_cure
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from tests.helpers import write_npz


def _config(name, data_dir=None, **changes):
    config = default().data
    config.update(name=name, **changes)
    config.data_dir = None if data_dir is None else str(data_dir)
    return config


def test_digits_are_split_by_class_and_always_alike():
    dataset = sources.load(_config('digits'))
    assert dataset.train.images.shape == (1347, 8, 8, 1)
    assert dataset.test.images.shape == (450, 8, 8, 1)
    assert dataset.train.images.max() == 255
    counts = np.bincount(dataset.test.labels)
    assert counts.min() >= 43
    assert counts.max() <= 46
    np.testing.assert_array_equal(dataset.test.labels, sources.load(_config('digits')).test.labels)


def test_digits_are_those_of_scikit_learn():
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    parts = train_test_split(
        np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8),
        labels.astype(np.int32),
        test_size=0.25,
        random_state=0,
        stratify=labels,
    )
    dataset = sources.load(_config('digits'))
    train, test = dataset.train, dataset.test
    stored = (train.images, test.images, train.labels, test.labels)
    for own, other in zip(stored, parts, strict=True):
        np.testing.assert_array_equal(own, other)
        assert own.dtype == other.dtype


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
        ('folder', 'x.zip', 'is a file; unpack it, and give the folder'),
        ('folder', 'x.npz', r'is a file; set config\.data\.name=npz'),
        ('cifar10', 'x.zip', 'is a file, not a folder.*download_and_prepare'),
        ('npz', '.', r'is a folder; .*config\.data\.name=folder'),
        ('npz', 'x.zip', r'is a zip archive of other files, such as a/b\.png; unpack it'),
        ('cifer10', '.', 'must be digits, npz, folder, or the name'),
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_missing_data_says_how_to_prepare_it(tmp_path, name, data_dir, words):
    for file in ('x.zip', 'x.npz'):
        with zipfile.ZipFile(tmp_path / file, 'w') as archive:
            archive.writestr('a/b.png', b'')
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


class _Builder:
    """What of a TFDS builder is used, over arrays."""

    name = 'tiny'

    def __init__(self, splits, features=('image', 'label'), channels=3):
        self.splits = splits
        known = {
            'image': SimpleNamespace(shape=(None, None, channels)),
            'label': SimpleNamespace(names=['a', 'b']),
        }
        self.info = SimpleNamespace(
            features={name: known[name] for name in features},
            splits=dict.fromkeys(splits),
            full_name='tiny/1.0',
        )

    def is_prepared(self):
        return True

    def as_data_source(self, split, decoders=None):
        return _Source([one for name in split.split('+') for one in self.splits[name]])


class _Source:
    def __init__(self, examples):
        self._examples = examples

    def __len__(self):
        return len(self._examples)

    def __getitem__(self, place):
        return self._examples[place]

    def __getitems__(self, places):
        return [self._examples[place] for place in places]


def _examples(count, shape=(8, 8, 3), label=None):
    rng = np.random.default_rng(0)
    return [
        {
            'image': rng.integers(0, 256, shape, dtype=np.uint8),
            'label': i % 2 if label is None else label,
        }
        for i in range(count)
    ]


def _tiny(monkeypatch, tmp_path, splits, **changes):
    import tensorflow_datasets as tfds

    options = {name: changes.pop(name) for name in ('features', 'channels') if name in changes}
    monkeypatch.setattr(tfds, 'builder', lambda *_, **__: _Builder(splits, **options))
    return sources.load(_config('tiny', tmp_path, **changes))


def test_a_set_without_tests_is_tested_on_its_validation(monkeypatch, tmp_path):
    splits = {'train': _examples(6), 'validation': _examples(4)}
    found = _tiny(monkeypatch, tmp_path, splits)
    assert len(found.test.images) == 4
    assert found.classes == ('a', 'b')
    assert found.pretrain is found.train


@pytest.mark.parametrize('size', [0, 4])
def test_secret_labels_are_no_class(monkeypatch, tmp_path, size):
    secret, labelled = _examples(5, label=-1), _examples(4)
    splits = {'train': _examples(6), 'validation': labelled, 'test': secret}
    found = _tiny(monkeypatch, tmp_path, splits, image_size=size)
    assert found.test.labels.tolist() == [0, 1, 0, 1]
    del splits['validation']
    found = _tiny(monkeypatch, tmp_path, splits, image_size=size)
    assert (len(found.test.images), found.test.labels) == (5, None)


@pytest.mark.parametrize('size', [0, 4])
def test_images_without_a_label_are_probed_nowhere(monkeypatch, tmp_path, size):
    examples = _examples(4) + _examples(3, label=-1) + _examples(2)
    splits = {'train': examples, 'test': examples}
    found = _tiny(monkeypatch, tmp_path, splits, image_size=size)
    for split in (found.train, found.test):
        assert split.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert len(split.images) == 6
    assert (len(found.pretrain.images), found.pretrain.labels) == (9, None)


@pytest.mark.parametrize('size', [0, 4])
def test_unlabelled_images_are_pre_trained_on(monkeypatch, tmp_path, size):
    splits = {
        'train': _examples(6),
        'test': _examples(4),
        'unlabelled': _examples(10, label=-1),
    }
    found = _tiny(monkeypatch, tmp_path, splits, image_size=size)
    assert len(found.pretrain.images) == 16
    assert found.pretrain.labels is None
    assert found.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(found.pretrain.images[:6], found.train.images)


def test_streaming_pre_trains_on_the_same_images(monkeypatch, tmp_path):
    splits = {
        'train': _examples(6),
        'test': _examples(4),
        'unlabelled': _examples(10, label=-1),
    }
    memory = _tiny(monkeypatch, tmp_path, splits, image_size=6)
    disk = _tiny(monkeypatch, tmp_path, splits, image_size=6, stream=True)
    np.testing.assert_array_equal(disk.pretrain.images[:], memory.pretrain.images)
    assert (disk.pretrain.labels, len(disk.train.images)) == (None, 6)


def test_grey_sets_stay_grey(monkeypatch, tmp_path):
    splits = {'train': _examples(6, (8, 8, 1)), 'test': _examples(4, (8, 8, 1))}
    assert _tiny(monkeypatch, tmp_path, splits).train.images.shape == (6, 8, 8, 1)
    found = _tiny(monkeypatch, tmp_path, splits, image_size=4, channels=1)
    assert found.train.images.shape == (6, 4, 4, 1)


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize(
    ('dtype', 'channels'), [(np.uint16, 3), (np.float32, 3), (np.uint8, 4), (np.uint8, 2)]
)
def test_pixels_that_scaling_would_change_are_refused(
    monkeypatch, tmp_path, dtype, channels, stream
):
    examples = _examples(6, (8, 8, channels))
    for example in examples:
        example['image'] = example['image'].astype(dtype)
    splits = {'train': examples, 'test': examples}
    with pytest.raises(UserError, match=rf'images are {np.dtype(dtype)} \[8, 8, {channels}\]'):
        _tiny(monkeypatch, tmp_path, splits, channels=channels, image_size=4, stream=stream)


def test_several_shapes_need_a_size(monkeypatch, tmp_path):
    splits = {'train': _examples(3) + _examples(2, (9, 12, 3)), 'test': _examples(4)}
    with pytest.raises(UserError, match=r'several shapes.*set config\.data\.image_size'):
        _tiny(monkeypatch, tmp_path, splits)
    assert _tiny(monkeypatch, tmp_path, splits, image_size=6).train.images.shape == (5, 6, 6, 3)


def test_a_set_can_stay_on_disk(monkeypatch, tmp_path):
    splits = {'train': _examples(6), 'test': _examples(4)}
    memory = _tiny(monkeypatch, tmp_path, splits, image_size=6)
    disk = _tiny(monkeypatch, tmp_path, splits, image_size=6, stream=True)
    assert isinstance(disk.train.images, StoredImages)
    np.testing.assert_array_equal(disk.train.images[:], memory.train.images)
    np.testing.assert_array_equal(disk.train.labels, memory.train.labels)


@pytest.mark.parametrize(
    ('splits', 'features', 'words'),
    [
        ({'train': []}, ('image', 'label'), 'splits train; need image, label, train, and test'),
        ({'train': [], 'test': []}, ('image',), 'has the features image and'),
    ],
)
def test_a_set_of_another_kind_is_refused(monkeypatch, tmp_path, splits, features, words):
    with pytest.raises(UserError, match=words):
        _tiny(monkeypatch, tmp_path, splits, features=features)


def test_what_is_in_memory_as_it_is_takes_no_size():
    with pytest.raises(UserError, match=r'data\.name=.digits.: its images are in memory'):
        sources.load(_config('digits', image_size=16))


def _unprepared(monkeypatch, tmp_path, size=0, error=None):
    """A data set of TFDS that is not prepared, and whose download raises an error."""
    import tensorflow_datasets as tfds

    class Unprepared(_Builder):
        data_path = str(tmp_path / 'tiny' / '1.0')

        def is_prepared(self):
            return False

        def download_and_prepare(self, **_):
            raise error or AssertionError('began to download')

    builder = Unprepared({'train': [], 'test': []})
    builder.info.download_size = builder.info.dataset_size = size
    monkeypatch.setattr(tfds, 'builder', lambda *_, **__: builder)


def test_a_disk_too_small_is_said_before_the_download(monkeypatch, tmp_path):
    _unprepared(monkeypatch, tmp_path, size=2**60)
    with pytest.raises(UserError, match=r'needs 2147483648\.0 GiB on the disk of .*make room'):
        sources.load(_config('tiny'))


def test_tensorflow_that_is_missing_is_named(monkeypatch, tmp_path):
    missing = ModuleNotFoundError("No module named 'tensorflow'")
    _unprepared(monkeypatch, tmp_path, error=missing)
    with pytest.raises(
        UserError, match='; install TensorFlow, with which TFDS prepares it, or pre'
    ):
        sources.load(_config('tiny'))


def test_a_set_that_needs_tensorflow_is_not_downloaded_without(monkeypatch, tmp_path):
    _unprepared(monkeypatch, tmp_path)
    # As modules of TFDS have it that use TensorFlow.
    monkeypatch.setitem(globals(), 'tf', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match='prepares it with TensorFlow, which is not installed'):
        sources.load(_config('tiny'))


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('cifar-10', 'must be digits, npz, folder, or .* such as cifar10; did you mean cifar10'),
        ('CIFAR10', 'must be digits, .* such as cifar10; did you mean cifar10'),
        ('no such data', 'such as cifar10$'),
        # TFDS says which there are.
        ('cifar10_corrupted/foo', "'cifar10_corrupted/foo': .*BuilderConfig foo not found"),
        ('cifar10:9.9.9', r"'cifar10:9\.9\.9': .*9\.9\.9"),
    ],
)
def test_a_name_that_tfds_has_not_is_one_line(tmp_path, name, words):
    with pytest.raises(UserError, match=words) as caught:
        sources.load(_config(name, tmp_path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('late', [True, False])
def test_what_another_run_prepares_meanwhile_is_taken(monkeypatch, tmp_path, late):
    import tensorflow_datasets as tfds

    prepared = []

    class Unprepared(_Builder):
        data_path = str(tmp_path / 'tiny' / '1.0')

        def is_prepared(self):
            return bool(prepared)

        def download_and_prepare(self, **_):
            prepared.append(1)
            # If it comes before the start, TFDS sees it and does nothing.
            if late:
                raise OSError('Cannot rename a. Destination b already exists.')

    def builder(*_, **__):
        # One that is made before knows no splits.
        splits = {'train': _examples(6), 'test': _examples(4)} if prepared else {}
        made = Unprepared(splits)
        made.info.download_size = made.info.dataset_size = 0
        return made

    monkeypatch.setattr(tfds, 'builder', builder)
    assert len(sources.load(_config('tiny')).train.images) == 6


@pytest.mark.parametrize('dtype', ['>i8', '<u8', '>u2', np.int32, np.uint32])
def test_labels_of_an_npz_are_numbered_by_value(tmp_path, dtype):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    arrays = {'train_images': images, 'test_images': images[:3]}
    arrays['train_labels'] = np.array([40507, 21, 507, 21], dtype)
    arrays['test_labels'] = np.array([507, 3, 40507], dtype)
    np.savez(tmp_path / 'a.npz', **arrays)
    dataset = sources.load(_config('npz', tmp_path / 'a.npz'))
    assert dataset.classes == ('3', '21', '507', '40507')
    assert dataset.train.labels.tolist() == [3, 1, 2, 1]
    assert dataset.test.labels.tolist() == [2, 0, 3]
    assert dataset.train.labels.dtype == dataset.test.labels.dtype == np.int32


def test_labels_from_zero_stay_as_they_are(tmp_path):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    labels = np.array([2, 0, 1, 0])
    np.savez(tmp_path / 'a.npz', train_images=images, train_labels=labels, test_images=images)
    dataset = sources.load(_config('npz', tmp_path / 'a.npz'))
    assert dataset.classes == ('0', '1', '2')
    assert dataset.train.labels.tolist() == labels.tolist()
    assert dataset.test.labels is None


def test_a_very_large_label_makes_one_class(tmp_path):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    labels = np.array([2**31 - 1, 7])
    np.savez(tmp_path / 'a.npz', train_images=images, train_labels=labels, test_images=images)
    assert sources.load(_config('npz', tmp_path / 'a.npz')).classes == ('7', '2147483647')


@pytest.mark.parametrize(
    ('images', 'cure'),
    [
        (np.zeros((4, 3, 8, 8), np.uint8), 'images.transpose(0, 2, 3, 1)'),
        (np.zeros((4, 8, 8), np.uint8), 'images[..., None]'),
        (np.zeros((4, 8, 8, 1), np.float32), '(255 * images).round().astype("uint8")'),
        (np.full((4, 8, 8, 1), 254.5), ': of pixels from 0 to 255, take images.round().astype('),
        (np.full((4, 8, 8, 1), -2.0), 'before they were normalised'),
        (np.zeros((4, 8, 8, 2), np.uint8), ''),
    ],
)
def test_images_of_a_usual_other_kind_are_told_their_cure(images, cure):
    assert cure in image_cure(images)
    assert bool(image_cure(images)) == bool(cure)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            {'train_labels': np.array(['cat'] * 4)},
            r'numpy\.unique\(names, return_inverse=True',
        ),
        ({'train_labels': np.zeros(4)}, r'take labels\.astype\(int\)$'),
        ({'train_labels': np.full(4, 0.5)}, 'need integers from 0 to [0-9]+$'),
        ({'train_labels': np.eye(4)}, r'take labels\.argmax\(1\)$'),
        ({'train_labels': np.zeros((4, 1), int)}, r'take labels\[:, 0\]$'),
        ({'train_labels': np.full(4, -1)}, 'from -1 to -1; need integers from 0'),
        ({'train_images': np.zeros((4, 8, 8, 3), int)}, r'take images\.astype\("uint8"\)$'),
        ({'train_images': np.full((4, 8, 8, 3), 70_000)}, 'values 0 to 255$'),
        ({'train_images': np.zeros((4, 8, 8, 2), np.uint8)}, 'values 0 to 255$'),
    ],
)
def test_what_is_no_data_set_says_what_to_write(tmp_path, changes, words):
    arrays = {
        **{f'{split}_images': np.zeros((4, 8, 8, 3), np.uint8) for split in ('train', 'test')},
        **{f'{split}_labels': np.arange(4) for split in ('train', 'test')},
    }
    np.savez(tmp_path / 'data.npz', **(arrays | changes))
    config = default().data
    config.update(name='npz', data_dir=str(tmp_path / 'data.npz'))
    with pytest.raises(UserError) as caught:
        sources.load(config)
    assert re.search(words, str(caught.value))
