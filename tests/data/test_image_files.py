"""Image files: formats, depth, size, and why one cannot be read."""

import pickle
import re
import struct
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image

from contrastive_jax.data import image_files, sources
from contrastive_jax.data.class_folders import Files
from contrastive_jax.errors import UserError
from tests.helpers import small_config

LIMIT = 10**6
# Pillow warns from half of the limit on; the package ignores that, and pytest undoes it.
no_warning = pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')


def _load(root, **changes):
    config = small_config(data__name='folder', data__data_dir=str(root), **changes)
    return sources.load(config.data)


def _images(root, count=4):
    for name in 'ab':
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new('RGB', (8, 8), (10 * index, 0, 0)).save(root / name / f'{index}.png')


def test_formats_are_read_side_by_side(tmp_path):
    _images(tmp_path, 2)
    for suffix in ('.webp', '.bmp', '.gif', '.tif', '.ppm', '.tga', '.jp2'):
        Image.new('RGB', (8, 8), (0, 200, 0)).save(tmp_path / 'b' / f'x{suffix}')
    found = _load(tmp_path)
    assert len(found.train.images) + len(found.test.images) == 2 + 2 + 7


def test_an_image_that_would_call_another_program_is_not_opened(tmp_path):
    _images(tmp_path)
    (tmp_path / 'a' / '9.png').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n')
    with pytest.raises(UserError, match=r'9\.png: is no image that can be read'):
        _load(tmp_path)


@no_warning
def test_a_large_image_is_refused_with_pixels_limit_and_field(tmp_path):
    _images(tmp_path)
    Image.new('L', (40, 30)).save(tmp_path / 'a' / 'wide.png')
    words = (
        r'wide\.png: is no image that can be read \(DecompressionBombError: .*1200 pixels.*limit '
        r'of 1000 pixels.*config\.data\.max_pixels'
    )
    with pytest.raises(UserError, match=words):
        _load(tmp_path, data__image_size=8, data__max_pixels=1000)
    for allowed in (1200, 2000, 10**9):
        found = _load(tmp_path, data__image_size=8, data__max_pixels=allowed)
        assert len(found.train.images) + len(found.test.images) == 9
    left = _load(tmp_path, data__image_size=8, data__max_pixels=1000, data__skip_broken=True)
    assert left.skipped == 1


@no_warning
def test_the_limit_holds_where_images_are_read_later(tmp_path):
    Image.new('L', (40, 30)).save(tmp_path / 'wide.png')
    paths = (tmp_path / 'wide.png',)
    with pytest.raises(UserError, match=r'wide\.png: cannot be read \(Decompression.*max_pixels'):
        image_files.read_image(paths, 'RGB', 1000, 0)
    assert image_files.read_image(paths, 'RGB', 1200, 0).size == (40, 30)


def test_the_reason_of_the_reader_is_kept(tmp_path, capsys):
    _images(tmp_path)
    (tmp_path / 'a' / '00.png').write_text('no image')
    (tmp_path / 'a' / '01.png').symlink_to(tmp_path / 'gone.png')
    with pytest.raises(UserError, match=r'00\.png: .*\(UnidentifiedImageError: .*\(2 such files\)'):
        _load(tmp_path)
    assert _load(tmp_path, data__skip_broken=True).skipped == 2
    said = capsys.readouterr().out
    assert 'left out: 2 files that cannot be read' in said
    assert 'UnidentifiedImageError: cannot identify image file' in said
    (tmp_path / 'a' / '00.png').unlink()
    with pytest.raises(UserError, match=r'01\.png: .*FileNotFoundError'):
        _load(tmp_path)


def test_a_broken_image_can_be_sent_by_a_worker():
    error = image_files.BrokenImage('a.png', 'OSError: truncated')
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert 'a.png: cannot be read (OSError: truncated); move it out' in str(again)


def _deep(root, values, dtype=np.uint16, suffix='.png'):
    """Images of 16 bits or more whose values run from the first to the last of some."""
    for name in 'ab':
        (root / name).mkdir(parents=True)
        for index in range(3):
            pixels = np.linspace(*values, 64).reshape(8, 8).astype(dtype)
            Image.fromarray(pixels).save(root / name / f'{index}{suffix}')


@pytest.mark.parametrize(
    ('values', 'dtype', 'words'),
    [
        ((0, 1023), np.uint16, '0 to 1023. Values are divided by 257: 4 of 256 levels are left'),
        ((30000, 34000), np.uint16, '30000 to 34000.*16 of 256 levels'),
        ((0, 1), np.float32, '0 to 1. .*1 of 256 levels'),
        ((0, np.nan), np.float32, 'nan to nan. .*beyond 0 to 65535 is cut off'),
        ((-5, 70000), np.int32, '-5 to 70000. .*beyond 0 to 65535 is cut off'),
    ],
)
def test_a_small_part_of_the_range_is_said_once(tmp_path, capsys, values, dtype, words):
    _deep(tmp_path, values, dtype, '.png' if dtype == np.uint16 else '.tif')
    found = _load(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    warnings = [line for line in lines if line.startswith('warning: 6 images have 16 bits or more')]
    assert len(warnings) == 1
    assert re.search(words, warnings[0])
    # No image is scaled by itself.
    expected = np.nan_to_num(np.linspace(*values, 64).astype(dtype))
    expected = np.clip(np.round(expected / 257), 0, 255)
    np.testing.assert_allclose(found.train.images[0].ravel(), expected, atol=1)


def _write_deep_colours(path, pixels):
    """Writes a PNG of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', crc32(name + data))

    height, width, _ = pixels.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    head = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + b''.join(map(chunk, (b'IHDR', b'IDAT', b'IEND'), (head, compress(rows), b'')))
    )


@pytest.mark.parametrize(('highest', 'warns'), [(1023, True), (65535, False)])
def test_colours_of_16_bits_are_looked_at_too(tmp_path, capsys, highest, warns):
    pixels = np.linspace(0, highest, 8 * 8 * 3).reshape(8, 8, 3)
    for name in 'abc':
        _write_deep_colours(tmp_path / f'{name}.png', pixels)
    found = _load(tmp_path)
    said = capsys.readouterr().out
    assert ('warning: 3 images have 16 bits or more' in said) == warns
    np.testing.assert_array_equal(found.train.images[0], pixels.astype(np.uint16) >> 8)


@pytest.mark.parametrize('values', [(0, 65535), (1000, 40000)])
def test_a_large_part_of_the_range_needs_no_word(tmp_path, capsys, values):
    _deep(tmp_path, values)
    _load(tmp_path)
    assert 'warning' not in capsys.readouterr().out


def test_heads_are_looked_at_once_for_what_they_say(tmp_path):
    Image.fromarray(np.zeros((8, 6), np.uint16)).save(tmp_path / 'deep.png')
    Image.new('L', (5, 4)).save(tmp_path / 'grey.png')
    paths = (tmp_path / 'deep.png', tmp_path / 'grey.png')
    inspected = image_files.inspect(Files(paths, None), 'data', skip_broken=False, max_pixels=LIMIT)
    assert inspected.grey
    assert inspected.deep == paths[:1]
    assert inspected.sizes == {(6, 8): paths[0], (5, 4): paths[1]}
