"""Files with bytes changed: what is read is right or refused with one line, never a crash.

Pillow, zip and JSON readers raise errors of a dozen kinds; a user is to see `UserError` alone.
"""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contrastive_jax.data import feature_files, image_files, layout, score_files, sources
from contrastive_jax.data.class_folders import Files
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import read_json, write_sealed_json
from tests.helpers import small_config

RANDOM = np.random.default_rng(0)
LIMIT = 10**6


@st.composite
def mutated(draw, originals: list[bytes]):
    """One of some files with bytes flipped, cut off, cut out, written twice, or overwritten."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        # Headers are short, and where readers break: half of the changes are there.
        last = draw(st.sampled_from([min(len(data), 64), len(data)]))
        start = draw(st.integers(0, max(last - 1, 0)))
        stop = start + draw(st.sampled_from([1, 2, 4, 30]))
        part = bytes(data[start:stop])
        data[start:stop] = draw(
            st.sampled_from([b'', part * 2, bytes(len(part)), b'\xff' * len(part)])
            | st.binary(min_size=len(part), max_size=len(part))
        )
        if draw(st.integers(0, 4)) == 0:
            del data[start:]
    return bytes(data)


@pytest.fixture(scope='module')
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def _encoded(mode: str, kind: str, **options) -> bytes:
    shape = (12, 10, len(mode)) if mode in ('RGB', 'RGBA', 'CMYK') else (12, 10)
    pixels = RANDOM.integers(0, 256, shape).astype(np.uint16 if mode == 'I;16' else np.uint8)
    image = Image.fromarray(pixels) if mode != 'CMYK' else Image.fromarray(pixels, 'CMYK')
    image = image.convert('P') if mode == 'P' else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    return exif


IMAGES = [
    *(_encoded(mode, 'PNG') for mode in ('RGB', 'RGBA', 'L', 'P', 'I;16')),
    *(_encoded(mode, 'JPEG') for mode in ('RGB', 'L')),
    _encoded('RGB', 'JPEG', progressive=True, exif=_exif()),
    _encoded('RGB', 'GIF'),
    _encoded('RGB', 'TIFF', compression='tiff_lzw'),
    _encoded('RGB', 'WEBP', exif=_exif()),
]


@given(data=mutated(IMAGES), mode=st.sampled_from(['RGB', 'L']))
def test_an_image_is_read_or_refused(folder, data, mode):
    path = folder / 'image.png'
    path.write_bytes(data)
    try:
        image = image_files.read_image((path,), mode, LIMIT, 0)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017, an image that is read is as good
    else:
        assert image.mode == mode
        assert np.asarray(image).dtype == np.uint8
    files = Files((path,), None)
    try:
        inspected = image_files.inspect(files, 'data', skip_broken=False, max_pixels=LIMIT)
    except UserError:
        with pytest.raises(UserError, match='no file can be read'):
            image_files.inspect(files, 'data', skip_broken=True, max_pixels=LIMIT)
    else:
        assert inspected.files.paths == (path,)


def _archive(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _array(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ROWS = RANDOM.normal(size=(6, 3)).astype(np.float32)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
SCORES = [_archive(score=ROWS[:, 0], checksum=np.array('abc')), _array(ROWS[:, 0])]


@given(data=mutated(SCORES))
def test_scores_are_read_or_refused(folder, data):
    path = folder / 'scores'
    path.write_bytes(data)
    try:
        found = score_files.read_scores(str(path), n=6, checksum='abc', where='config')
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017, as above
    else:
        assert found.columns['score'].shape == (6,)


FEATURES = _archive(
    train_features=ROWS, train_labels=CLASSES, test_features=ROWS, test_labels=CLASSES
)


@given(data=mutated([FEATURES]))
def test_features_are_read_or_refused(folder, data):
    path = folder / 'features.npz'
    path.write_bytes(data)
    try:
        train, test = feature_files.read_splits(str(path))
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017, as above
    else:
        # The zip file's own checksums leave nothing but what was written.
        for split in (train, test):
            np.testing.assert_array_equal(split.rows, ROWS)
            np.testing.assert_array_equal(split.labels, CLASSES)


PIXELS = RANDOM.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
DATA = _archive(train_images=PIXELS, train_labels=CLASSES, test_images=PIXELS, test_labels=CLASSES)


@given(data=mutated([DATA]))
def test_a_data_set_is_read_or_refused(folder, data):
    path = folder / 'data.npz'
    path.write_bytes(data)
    config = small_config(data__name='npz', data__data_dir=str(path)).data
    try:
        found = sources.load(config)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017, as above
    else:
        np.testing.assert_array_equal(np.asarray(found.train.images), PIXELS)


@pytest.mark.parametrize('labels', [[-1] * 6, [2**62] + [0] * 5, [0.5] * 6])
def test_labels_of_a_data_set_are_classes(folder, labels):
    path = folder / 'labels.npz'
    np.savez(path, train_images=PIXELS, test_images=PIXELS, train_labels=np.array(labels))
    with pytest.raises(UserError, match='need integers from 0'):
        sources.load(small_config(data__name='npz', data__data_dir=str(path)).data)


@given(data=st.binary(max_size=80) | mutated([b'{"a": [1, {"b": null}], "c": "d"}\n']))
def test_json_is_read_as_it_was_written_or_refused(folder, data):
    path = folder / 'result.json'
    write_sealed_json(path, {'a': [1, {'b': None}], 'c': 'd'})
    sealed = path.read_bytes()
    path.write_bytes(data)
    if data == sealed:
        assert read_json(path) == json.loads(data)
    else:
        with pytest.raises(UserError, match='damaged'):
            read_json(path)


TABLE = b'one.png\ta\t0\t0\t9\t9\ntwo.png\tb\t0\t0\t9\t9\n'


@given(data=mutated([TABLE]))
def test_a_table_of_annotations_names_each_image_once_or_is_refused(folder, data):
    root = folder / 'tiny'
    for name in ('train/a/x.png', 'train/b/x.png', 'val/images/one.png', 'val/images/two.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / 'val/val_annotations.txt').write_bytes(data)
    try:
        _, test, classes, *_ = layout.find(root, 'config.data.data_dir')
    except UserError as error:
        assert 'val_annotations' in str(error)  # noqa: PT017, as above
    else:
        assert classes == ('a', 'b')
        assert 1 <= len(set(test.paths)) == len(test.paths) == len(test.labels) <= 2
        assert all(path.parent == root / 'val/images' for path in test.paths)
