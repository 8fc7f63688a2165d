import json

import numpy as np
import pytest
from PIL import Image

from contrastive_jax import main
from contrastive_jax.data import sources
from contrastive_jax.data.image_files import read_image
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.errors import UserError
from contrastive_jax.runtime import memory
from tests.helpers import small_config

COLOURS = {'apple': (200, 30, 30), 'leaf': (30, 200, 30), 'sky': (30, 30, 200)}


def _picture(path, colour, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, colour).save(path, **options)


def _classes(root, count=10, suffix='.png', **options):
    for name, colour in COLOURS.items():
        for i in range(count):
            _picture(root / name / f'{i:02}{suffix}', colour, **options)


def _config(root, **changes):
    return small_config(data__name='folder', data__data_dir=str(root), **changes)


def _load(root, **changes):
    return sources.load(_config(root, **changes).data)


def _colour(image):
    return np.argmax(image.reshape(-1, 3).mean(axis=0))


@pytest.mark.parametrize('tests', ['test', 'val'])
def test_train_and_test_folders(tmp_path, tests, capsys):
    _classes(tmp_path / 'train')
    _classes(tmp_path / tests, 4)
    found = _load(tmp_path)
    assert capsys.readouterr().out.startswith('data: 3 classes (apple, leaf, sky), 30 images')
    assert found.classes == ('apple', 'leaf', 'sky')
    assert found.train.images.shape == (30, 8, 8, 3)
    assert found.test.images.shape == (12, 8, 8, 3)
    for split in (found.train, found.test):
        assert [_colour(image) for image in split.images] == split.labels.tolist()
    assert found.pretrain.images is found.train.images


def test_tests_may_lack_a_class_but_have_no_other(tmp_path):
    _classes(tmp_path / 'train')
    _picture(tmp_path / 'val' / 'sky' / 'a.png', COLOURS['sky'])
    _picture(tmp_path / 'val' / 'leaf' / 'a.png', COLOURS['leaf'])
    assert _load(tmp_path).test.labels.tolist() == [1, 2]
    _picture(tmp_path / 'val' / 'stone' / 'a.png', (9, 9, 9))
    with pytest.raises(UserError, match=r"val has the class 'stone', and train has apple, leaf"):
        _load(tmp_path)


def test_tiny_imagenet_as_it_arrives(tmp_path):
    for name, colour in (('n02', COLOURS['leaf']), ('n01', COLOURS['apple'])):
        for i in range(6):
            _picture(tmp_path / 'train' / name / 'images' / f'{name}_{i}.JPEG', colour)
        (tmp_path / 'train' / name / f'{name}_boxes.txt').write_text('ignored')
    rows = []
    for i, name in enumerate(('n02', 'n01', 'n01')):
        colour = COLOURS['leaf' if name == 'n02' else 'apple']
        _picture(tmp_path / 'val' / 'images' / f'val_{i}.JPEG', colour)
        rows.append(f'val_{i}.JPEG\t{name}\t0\t0\t62\t62')
    (tmp_path / 'val' / 'val_annotations.txt').write_text('\n'.join(rows) + '\n')
    _picture(tmp_path / 'test' / 'images' / 'test_0.JPEG', (0, 0, 0))
    found = _load(tmp_path)
    assert found.classes == ('n01', 'n02')
    assert found.train.labels.tolist() == [0] * 6 + [1] * 6
    assert found.test.labels.tolist() == [1, 0, 0]
    assert [_colour(image) for image in found.test.images] == [1, 0, 0]


def test_class_folders_alone_hold_out_a_tenth(tmp_path):
    _classes(tmp_path, 20)
    found, again = _load(tmp_path), _load(tmp_path)
    assert np.bincount(found.test.labels).tolist() == [2, 2, 2]
    assert np.bincount(found.train.labels).tolist() == [18, 18, 18]
    np.testing.assert_array_equal(found.test.images, again.test.images)


def test_images_alone_have_no_labels(tmp_path, capsys):
    for i in range(40):
        _picture(tmp_path / 'data' / f'{i:02}.png', (6 * i, 0, 0))
    found = _load(tmp_path / 'data')
    assert found.train.labels is None
    assert found.classes == ()
    assert len(found.test.images) == 4
    result = main.run(_config(tmp_path / 'data'), tmp_path / 'run')
    assert result['linear_accuracy'] is None
    assert 'nothing to probe' in capsys.readouterr().out


test_images_alone_have_no_labels = pytest.mark.filterwarnings('ignore')(
    test_images_alone_have_no_labels
)


@pytest.mark.ci
@pytest.mark.filterwarnings('ignore')
def test_a_class_of_one_image_is_no_error_of_the_encoder(tmp_path, capsys):
    _classes(tmp_path / 'data', 20)
    _picture(tmp_path / 'data' / 'rare' / '0.png', (200, 200, 200))
    config = _config(tmp_path / 'data', epochs=1, probe__labels_per_class=1)
    result = main.run(config, tmp_path / 'run')
    assert 'trained on but not tested, since they have one image: rare' in capsys.readouterr().out
    assert result['linear_accuracy'] == result['raw_pixel_accuracy'] == 1
    by_class = result['linear_accuracy_by_class']
    assert by_class == {'apple': 1, 'leaf': 1, 'rare': None, 'sky': 1}
    assert result['linear_accuracy_balanced'] == 1


def test_one_class_tells_nothing_apart(tmp_path, capsys):
    for i in range(20):
        _picture(tmp_path / 'apple' / f'{i}.png', COLOURS['apple'])
    assert _load(tmp_path).train.labels is None
    assert 'there are no classes to tell apart' in capsys.readouterr().out


def test_an_empty_class_is_named(tmp_path):
    _classes(tmp_path)
    (tmp_path / 'moon').mkdir()
    with pytest.raises(UserError, match=r'class folders without images: moon/; add images'):
        _load(tmp_path)


@pytest.mark.parametrize('name', ['nowhere', ''])
def test_a_folder_without_images_is_refused(tmp_path, name):
    with pytest.raises(
        UserError, match=r'config\.data\.data_dir=.*(no such folder|holds no images)'
    ):
        _load(tmp_path / name)


def _save_odd(kind, path):
    """An image of mean (100, 100, 100), or nearly, in an odd form."""
    grey = Image.new('RGB', (8, 8), (100, 100, 100))
    if kind == 'palette':
        grey.convert('P').save(path.with_suffix('.png'))
    elif kind == 'transparent palette':
        grey.convert('P').save(path.with_suffix('.png'), transparency=b'\x00\x80')
    elif kind == 'alpha':
        Image.new('RGBA', (8, 8), (100, 100, 100, 7)).save(path.with_suffix('.png'))
    elif kind == 'grey and alpha':
        Image.new('LA', (8, 8), (100, 7)).save(path.with_suffix('.png'))
    elif kind == '16 bit':
        deep = Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))
        deep.save(path.with_suffix('.png'))
    elif kind == 'grey':
        grey.convert('L').save(path.with_suffix('.jpg'))
    else:
        grey.convert('CMYK').save(path.with_suffix('.JPEG'), quality=95)


@pytest.mark.parametrize(
    'kind',
    ['palette', 'transparent palette', 'alpha', 'grey and alpha', '16 bit', 'grey', 'cmyk'],
)
def test_odd_images_become_rgb(tmp_path, kind):
    _classes(tmp_path / 'train', 2)
    _classes(tmp_path / 'test', 1)
    (tmp_path / 'train' / 'zebra').mkdir()
    _save_odd(kind, tmp_path / 'train' / 'zebra' / 'odd')
    found = _load(tmp_path)
    assert found.train.images.shape == (7, 8, 8, 3)
    np.testing.assert_allclose(found.train.images[-1].astype(int), 100, atol=3)


def test_all_grey_stays_grey(tmp_path):
    for name, value in (('dark', 20), ('light', 220)):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new('L', (8, 8), value).save(tmp_path / name / f'{i}.png')
        deep = Image.fromarray(np.full((8, 8), value * 257, np.uint16))
        deep.save(tmp_path / name / '9.png')
    found = _load(tmp_path)
    assert found.train.images.shape == (8, 8, 8, 1)
    assert np.unique(found.train.images).tolist() == [20, 220]


def test_a_camera_held_upright_is_turned(tmp_path):
    _classes(tmp_path / 'train', 2)
    _classes(tmp_path / 'test', 1)
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4] = 255  # White on the left, until the tag turns it by a quarter.
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'train' / 'sky' / '99.jpg'
    Image.fromarray(picture).save(path, exif=exif, quality=100)
    turned = _load(tmp_path).train.images[-1]
    assert turned[:3].min() > 200
    assert turned[5:].max() < 50


@pytest.mark.parametrize('mode', ['L', 'I;16', 'CMYK', 'RGB'])
@pytest.mark.parametrize('turn', [5, 6, 7, 8])
def test_an_uncompressed_scan_is_turned(tmp_path, mode, turn):
    channels = {'CMYK': 4, 'RGB': 3}.get(mode, 1)
    numbers = np.arange(6 * 9 * channels).reshape(6, 9, channels)
    pixels = (256 * numbers).astype(np.uint16) if mode == 'I;16' else numbers.astype(np.uint8)
    picture = Image.frombytes(mode, (9, 6), pixels.tobytes())
    exif = Image.Exif()
    exif[0x0112] = turn
    picture.save(tmp_path / 'turned.tif', exif=exif)
    picture.save(tmp_path / 'plain.tif')
    transpose = Image.Transpose
    how = {5: transpose.TRANSPOSE, 6: transpose.ROTATE_270, 7: transpose.TRANSVERSE}
    expected = read_image((tmp_path / 'plain.tif',), 'RGB', 10**6, 0).transpose(
        how.get(turn, transpose.ROTATE_90)
    )
    found = read_image((tmp_path / 'turned.tif',), 'RGB', 10**6, 0)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_sizes_need_a_common_one(tmp_path):
    _classes(tmp_path / 'train')
    _classes(tmp_path / 'test', 1)
    _picture(tmp_path / 'train' / 'sky' / '99.png', COLOURS['sky'], (20, 12))
    with pytest.raises(
        UserError, match=r'99\.png: is 20 x 12 pixels.*set config\.data\.image_size'
    ):
        _load(tmp_path)
    found = _load(tmp_path, data__image_size=6)
    assert found.train.images.shape == (31, 6, 6, 3)
    assert _colour(found.train.images[-1]) == 2


def test_images_that_are_not_square_need_a_size(tmp_path):
    _classes(tmp_path, size=(8, 6))
    with pytest.raises(UserError, match=r'8 x 6 pixels; set config\.data\.image_size to cut'):
        _load(tmp_path)


def _break(kind, path):
    if kind == 'text':
        path.write_text('not an image')
    elif kind == 'empty':
        path.write_bytes(b'')
    else:
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, format=kind)
        path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.ci
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
    'kind',
    [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ('text', 'empty', 'png')), 'jpeg'],
)
def test_a_broken_image_fails_or_is_counted(tmp_path, kind):
    _classes(tmp_path / 'data' / 'train')
    _classes(tmp_path / 'data' / 'test', 4)
    broken = tmp_path / 'data' / 'train' / 'leaf' / '99.jpg'
    _break(kind, broken)
    with pytest.raises(UserError, match=r'99\.jpg: .*config\.data\.skip_broken=True'):
        _load(tmp_path / 'data')
    found = _load(tmp_path / 'data', data__skip_broken=True)
    assert found.skipped == 1
    assert np.bincount(found.train.labels).tolist() == [10, 10, 10]
    config = _config(tmp_path / 'data', data__skip_broken=True)
    result = main.run(config, tmp_path / 'run')
    assert json.loads((tmp_path / 'run' / 'result.json').read_text())['skipped_images'] == 1
    assert result['linear_accuracy'] > 0.9


def test_other_and_hidden_files_are_not_meant(tmp_path):
    _classes(tmp_path, 10)
    (tmp_path / 'apple' / 'notes.txt').write_text('hello')
    (tmp_path / 'leaf' / '._00.png').write_text('of a file system')
    (tmp_path / '.cache').mkdir()
    assert len(_load(tmp_path).train.images) == 27


def test_a_folder_can_stay_on_disk(tmp_path):
    _classes(tmp_path, 10)
    memory = _load(tmp_path, data__image_size=6)
    disk = _load(tmp_path, data__image_size=6, data__stream=True)
    assert isinstance(disk.train.images, StoredImages)
    np.testing.assert_array_equal(disk.train.images[:], memory.train.images)
    np.testing.assert_array_equal(disk.train.labels, memory.train.labels)
    with pytest.raises(UserError, match=r'config\.data\.image_size=0: with config\.data\.stream'):
        _load(tmp_path, data__stream=True)
    broken = tmp_path / 'sky' / '99.png'
    _break('png', broken)
    images = _load(tmp_path, data__image_size=6, data__stream=True).train.images
    with pytest.raises(UserError, match=r'99\.png: cannot be read'):
        images[:]


@pytest.mark.ci
@pytest.mark.filterwarnings('ignore')
def test_a_run_from_disk_trains_and_probes(tmp_path):
    _classes(tmp_path / 'data', 20)
    config = _config(tmp_path / 'data', data__image_size=8, data__stream=True, data__workers=0)
    result = main.run(config, tmp_path / 'run')
    assert result['linear_accuracy'] > 0.9
    # Pixels are not probed where they may not fit.
    assert result['raw_pixel_accuracy'] is None


def test_memory_that_would_not_do_is_said_before(tmp_path, monkeypatch):
    _classes(tmp_path, 10)
    monkeypatch.setattr(memory, 'on_host', lambda: 27 * 8 * 8 * 3 - 1)
    with pytest.raises(UserError, match=r'27 images of 8 pixels.*config\.data\.stream=True'):
        _load(tmp_path)
