"""Which files of a folder are trained on, tested on, and left out: as people have their folders."""

import ast
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrastive_jax.data import layout, sources
from contrastive_jax.data.class_folders import Files
from contrastive_jax.data.file_tree import level, suffixes
from contrastive_jax.errors import UserError
from tests.helpers import small_config


def _fill(folder, count=3, suffix='.png'):
    """Empty files: a layout follows from names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f'{index:02}{suffix}').touch()


def _fill_all(root, *folders, count=3):
    for folder in folders:
        _fill(root / folder, count)


def _find(root):
    return layout.find(root, 'config.data.data_dir')


def _names(files: Files, root):
    return [path.relative_to(root).as_posix() for path in files.paths]


@pytest.mark.parametrize('train', ['train', 'Training', 'TRAIN'])
@pytest.mark.parametrize(
    'test', ['test', 'Testing', 'TEST', 'holdout', 'val', 'valid', 'validation', 'dev', 'Eval']
)
def test_splits_are_known_by_their_usual_names(tmp_path, train, test):
    _fill_all(tmp_path, f'{train}/a', f'{train}/b', f'{test}/a', f'{test}/b')
    found = _find(tmp_path)
    assert found.classes == ('a', 'b')
    assert found.train.labels.tolist() == found.test.labels.tolist() == [0] * 3 + [1] * 3
    assert {name.split('/')[0] for name in _names(found.train, tmp_path)} == {train}
    assert {name.split('/')[0] for name in _names(found.test, tmp_path)} == {test}
    assert found.summary == f'2 classes, 6 images from {train}/, 6 from {test}/'


def test_the_line_counts_what_is_taken_and_what_is_not(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'test/a', 'test/b', 'val/a', 'extra')
    _fill(tmp_path / 'train', 2)
    _fill(tmp_path / 'train/a', 2, '.TXT')
    _fill(tmp_path / 'test/b', 1, '')
    (tmp_path / '.cache').mkdir()
    (tmp_path / 'readme.md').touch()
    (tmp_path / 'gone').symlink_to(tmp_path / 'nowhere')
    assert _find(tmp_path).summary == (
        '2 classes, 6 images from train/, 6 from test/; '
        'ignored: 5 files (.txt 2, .md 1, broken link 1, no suffix 1), 1 hidden; '
        'not used: 3 images in extra/, 3 images in val/, 2 images outside the classes of train/'
    )


def test_the_line_says_what_is_held_out(tmp_path):
    _fill_all(tmp_path, 'a', 'b', count=20)
    assert _find(tmp_path).summary == '2 classes, 36 images, 4 held out for tests'
    (tmp_path / 'train').mkdir()
    for name in 'ab':
        (tmp_path / name).rename(tmp_path / 'train' / name)
    assert _find(tmp_path).summary == '2 classes, 36 images from train/, 4 held out for tests'


def test_what_is_held_out_is_the_same_for_ever(tmp_path):
    _fill_all(tmp_path, 'a', 'b', count=20)
    expected = ['a/09.png', 'a/15.png', 'b/01.png', 'b/12.png']
    assert _names(_find(tmp_path).test, tmp_path) == expected


def test_tests_come_from_val_where_test_has_no_classes(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'val/a', 'val/b', 'test', 'test/unknown')
    found = _find(tmp_path)
    assert _names(found.test, tmp_path)[0] == 'val/a/00.png'
    assert 'not used: 6 images in test/' in found.summary
    for path in (tmp_path / 'val').glob('*/*'):
        path.unlink()
    with pytest.raises(UserError, match=r"test has the class 'unknown', and train has a, b"):
        _find(tmp_path)


def test_without_classes_the_images_of_test_are_tested_on(tmp_path):
    _fill_all(tmp_path, 'train', 'val', 'test')
    found = _find(tmp_path)
    assert found.train.labels is found.test.labels is None
    assert _names(found.test, tmp_path)[0] == 'test/00.png'
    assert 'not used: 3 images in val/' in found.summary
    _fill_all(tmp_path, 'test/a', 'test/b')
    assert 'the folders of test/ are no classes, since train has none' in _find(tmp_path).summary


@pytest.mark.parametrize(
    ('folders', 'words'),
    [
        # A class called train, or a split?
        (('bus', 'car', 'train'), r'train/ has the name of a split, but bus/, car/ beside it'),
        (('bus', 'car', 'train', 'val'), r'train/ has the name of a split, but bus/, car/'),
        (('train/a', 'train/b', 'extra'), r'train/ has the name of a split, but extra/'),
        (('cat', 'dog', 'test'), r'has test/ but no train/; move the training images'),
        (('test/a', 'test/b', 'val/a'), r'has test/ but no train/|has val/ but no train/'),
        (('train/a', 'train/b', 'Training/a', 'val/a'), r'both name the train split; rename'),
        (('train/a', 'train/b', 'dev/a', 'eval/a'), r'dev/ and eval/ both name the val split'),
        # One level too high, or more.
        (
            ('data/train/a', 'data/train/b', 'data/test/a'),
            r'no train/, but \S+/data has; give \S+/data,',
        ),
        (('x/y/Training/a', 'x/y/Testing/a', 'z'), r'but \S+/x/y has; give \S+/x/y,'),
        (('data/train/a', 'data/train/b'), r'but \S+/data has; give'),
        (
            ('one/train/a', 'one/test/a', 'two/train/a', 'two/test/a'),
            r'but one/, two/ in it have; .* move the images to train/<class>/ and test/<class>/',
        ),
        (
            ('cat/train', 'cat/test', 'dog/train', 'dog/test'),
            r'but cat/, dog/ in it have; .* move the images to train/<class>/ and test/<class>/',
        ),
        # Names that are none of the usual ones.
        (('train2017', 'val2017'), r'train2017/, val2017/ look like splits; rename'),
        (('my_train_set', 'my_test_set', 'more'), r'my_test_set/, my_train_set/ look like splits'),
        (('TrainData', 'TestData'), r'rename TestData/ to test/, TrainData/ to train/, or give'),
        (('trainset', 'testset'), r'rename testset/ to test/, trainset/ to train/'),
        (('traindata', 'validset'), r'rename traindata/ to train/, validset/ to val/'),
        (('train_images', 'holdout'), r'look like splits; rename holdout/ to test/, train_images/'),
        (('1_train', '2_val'), r'rename 1_train/ to train/, 2_val/ to val/'),
        (('trainA', 'trainB', 'testA', 'testB'), r'testA/ to test/A/, .*trainB/ to train/B/'),
        (('mytrain', 'mytest'), r'rename mytest/ to test/, mytrain/ to train/'),
        (('train/a', 'train/b', 'tests/a', 'tests/b'), r'rename tests/ to test/, or give'),
        (('train', 'test_images'), r'rename test_images/ to test/, or give'),
        (('val', 'train_images'), r'rename train_images/ to train/, or give'),
        (('data/trainset', 'data/testset'), r'/data: testset/, trainset/ look like splits'),
        # Nothing to test on.
        (('train/a', 'train/b', 'test'), r'test has no classes, and train has a, b'),
        (('train/a', 'train/b', 'val/c'), r"val has the class 'c', and train has a, b"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, folders, words):
    _fill_all(tmp_path, *folders)
    with pytest.raises(UserError, match=words) as refusal:
        _find(tmp_path)
    assert 'delete' not in str(refusal.value)


@pytest.mark.parametrize(
    'names',
    [
        ('testament', 'trainer'),
        ('pretest', 'train station'),
        ('constrain', 'contest'),
        ('contest', 'trainer', 'valley'),
        ('tester', 'trainer'),
        ('device', 'train station', 'vale'),
    ],
)
def test_a_class_may_have_such_a_word_in_its_name(tmp_path, names):
    _fill_all(tmp_path, *names)
    assert _find(tmp_path).classes == names


def _empty(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / '.gitkeep').touch()


@pytest.mark.parametrize(
    ('full', 'empty', 'words'),
    [
        (('train/a', 'train/b'), ('val/a', 'val/b'), r'/val holds no images, only a/, b/'),
        (('train/a', 'train/b'), ('test',), r'/test holds no images'),
        (('val/a', 'val/b'), ('train/a', 'train/b'), r'/train holds no images, only a/, b/'),
        (('a', 'b'), ('c', 'd'), r'class folders without images: c/, d/'),
        (('train/a', 'test/a'), ('train/c',), r'/train has class folders without images: c/'),
        ((), ('a', 'b'), r'holds no images, only a/, b/'),
    ],
)
def test_a_split_or_class_without_images_is_named(tmp_path, full, empty, words):
    _fill_all(tmp_path, *full)
    _empty(tmp_path, *empty)
    with pytest.raises(UserError, match=words):
        _find(tmp_path)


def test_an_empty_test_folder_does_not_hide_a_good_one(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'val/a', 'val/b')
    _empty(tmp_path, 'test/a')
    assert '6 from val/' in _find(tmp_path).summary


@pytest.mark.parametrize('folders', [('a', 'b', 'c'), ('.',)])
def test_one_image_each_leaves_nothing_to_test_on(tmp_path, folders):
    _fill_all(tmp_path, *folders, count=1)
    with pytest.raises(UserError, match=r'no image is left for tests, since .* one image only'):
        _find(tmp_path)


def test_a_class_of_one_image_stays_in_training_and_is_named(tmp_path):
    _fill_all(tmp_path, 'a', 'b', count=20)
    _fill(tmp_path / 'rare', 1)
    found = _find(tmp_path)
    assert np.bincount(found.train.labels).tolist() == [18, 18, 1]
    assert 2 not in found.test.labels
    assert 'trained on but not tested, since they have one image: rare' in found.summary


def test_a_run_among_the_classes_is_no_class(tmp_path):
    _fill_all(tmp_path, 'a', 'b', 'run')
    for name in ('config.json', 'training_set.npz'):
        (tmp_path / 'run' / name).touch()
    with pytest.raises(UserError, match=r'run is the workdir of a run, not a class; move it') as e:
        _find(tmp_path)
    assert 'delete' not in str(e.value)


def test_links_are_followed_but_not_in_circles(tmp_path):
    root, store = tmp_path / 'data', tmp_path / 'store'
    _fill_all(root, 'a', 'b/inner')
    _fill(store / 'more', 4)
    _fill(store, 5)
    (root / 'a/link').symlink_to(store)
    (root / 'a/again').symlink_to(store / 'more')
    (root / 'b/one.png').symlink_to(store / '00.png')
    # Circles: to the class itself, to the data, to what holds it, and by way of the store.
    (root / 'a/self').symlink_to('.')
    (root / 'b/inner/up').symlink_to(root)
    (root / 'loop').symlink_to(root)
    (root / 'b/out').symlink_to(tmp_path)
    (store / 'back').symlink_to(root / 'a')
    (store / 'parent').symlink_to(tmp_path)
    found = _find(root)
    assert found.classes == ('a', 'b')
    names = sorted(_names(found.train, root) + _names(found.test, root))
    assert len([name for name in names if name.startswith('a/')]) == 3 + 4 + 5
    assert [name for name in names if name.startswith('b/')] == [
        *(f'b/inner/{index:02}.png' for index in range(3)),
        'b/one.png',
    ]


def test_linked_splits_and_classes_are_read(tmp_path):
    _fill_all(tmp_path / 'store', 'x', 'y')
    for split in ('train', 'test'):
        (tmp_path / 'data' / split).mkdir(parents=True)
        for name in 'xy':
            (tmp_path / 'data' / split / name).symlink_to(tmp_path / 'store' / name)
    assert _find(tmp_path / 'data').summary == '2 classes, 6 images from train/, 6 from test/'


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    _fill_all(tmp_path, 'a/closed', 'b')
    scandir = os.scandir

    def refusing(folder):
        if Path(folder).name == 'closed':
            raise PermissionError(13, 'Permission denied')
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refusing)
    with pytest.raises(UserError, match=r'a/closed: cannot be read \(Permission denied\)'):
        _find(tmp_path)


@pytest.mark.parametrize(('method', 'named'), [('is_symlink', 'a'), ('stat', 'a/closed')])
def test_a_folder_that_may_be_listed_but_not_searched_is_named(
    method, named, tmp_path, monkeypatch
):
    _fill_all(tmp_path, 'a/closed', 'b')
    allowed = getattr(Path, method)

    def refusing(path, **options):
        # With options it is `lstat`.
        if path.name == 'closed' and not options:
            raise PermissionError(13, 'Permission denied')
        return allowed(path, **options)

    monkeypatch.setattr(Path, method, refusing)
    with pytest.raises(UserError, match=rf'/{named}: cannot be read \(Permission denied\)'):
        _find(tmp_path)


def test_what_systems_add_is_hidden(tmp_path):
    _fill_all(tmp_path, 'a', 'b', '__MACOSX/a', 'a/@eaDir', '.ipynb_checkpoints')
    found = _find(tmp_path)
    assert len(found.train.paths + found.test.paths) == 6
    assert '3 hidden' in found.summary


def test_every_suffix_that_pillow_decodes_is_an_image(tmp_path):
    assert {'.jpg', '.jfif', '.png', '.webp', '.tif', '.bmp', '.gif', '.ppm', '.mpo'} <= suffixes()
    assert not {'.eps', '.ps', '.pdf', '.mpg', '.h5', '.wmf', '.txt', '.npz'} & suffixes()
    for name in ('a.PNG', 'b.WebP', 'c.heic'):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / 'pipe.png')
    found = level(tmp_path)
    assert sorted(path.name for path in found.images) == ['a.PNG', 'b.WebP']
    assert found.others == {'.heic': 1, '.png': 1}


def test_of_links_named_like_images_files_and_broken_ones_are_images(tmp_path):
    (tmp_path / 'file').touch()
    os.mkfifo(tmp_path / 'pipe')
    for name, target in {
        'file': 'file',
        'broken': 'gone',
        'circle': 'circle.png',
        'pipe': 'pipe',
        'device': '/dev/null',
    }.items():
        (tmp_path / f'{name}.png').symlink_to(target)
    content = level(tmp_path)
    assert {path.stem for path in content.images} == {'file', 'broken', 'circle'}
    assert content.others == {'no suffix': 2, '.png': 2}


def _tiny(root, table: bytes, images=('val_0.JPEG', 'val_1.JPEG')):
    _fill_all(root, 'train/n01/images', 'train/n02/images')
    (root / 'val/images').mkdir(parents=True)
    for name in images:
        (root / 'val/images' / name).touch()
    (root / 'val/val_annotations.txt').write_bytes(table)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_annotations_of_any_editor_are_read(tmp_path, encoding, end):
    lines = ['val_0.JPEG\tn02\t0\t0\t9\t9', 'val_1.JPEG\tn01\t0\t0\t9\t9', '']
    _tiny(tmp_path, end.join(lines).encode(encoding), ('val_0.JPEG', 'val_1.JPEG', 'val_2.JPEG'))
    found = _find(tmp_path)
    assert found.test.labels.tolist() == [1, 0]
    assert found.summary == (
        '2 classes, 6 images from train/, 2 from val/; '
        'not used: 1 image outside the classes of val/'
    )


def test_annotations_name_files_in_any_encoding(tmp_path):
    name = os.fsdecode(b'caf\xe9.JPEG')
    _tiny(tmp_path, b'caf\xe9.JPEG\tn02\n', (name,))
    assert [path.name for path in _find(tmp_path).test.paths] == [name]


def test_class_folders_win_over_annotations_left_beside_them(tmp_path):
    _tiny(tmp_path, b'val_0.JPEG\tn02\n', ())
    _fill_all(tmp_path, 'val/n01', 'val/n02')
    assert _find(tmp_path).test.labels.tolist() == [0] * 3 + [1] * 3


def _picture(path: bytes, value):
    with open(path, 'wb') as file:
        Image.new('RGB', (8, 8), (value, 0, 0)).save(file, 'PNG')


def test_names_in_any_encoding_are_read_and_can_be_written(tmp_path):
    root = os.fsencode(tmp_path) + b'/caf\xe9'
    for folder in (b'a', b'b\xe4r'):
        os.makedirs(root + b'/' + folder)
        for name in (b'\xe9.png', b'two\nlines.png', '日本.png'.encode(), b'plain.png'):
            _picture(root + b'/' + folder + b'/' + name, len(name))
    config = small_config(
        data__name='folder', data__data_dir=os.fsdecode(root), data__image_size=8, data__stream=True
    )
    found = sources.load(config.data)
    assert found.classes == ('a', r'b\xe4r')
    files = sorted(found.train.files + found.test.files)
    assert files == sorted(
        f'{folder}/{name}'
        for folder in found.classes
        for name in (r'\xe9.png', r'two\nlines.png', '日本.png', 'plain.png')
    )
    '\n'.join(files).encode()
    assert len(found.train.images.checksum) == 64


def test_names_of_files_go_with_the_images(tmp_path):
    for folder, value in (('a', 100), ('b', 200)):
        _fill(tmp_path / folder, 0)
        for index in range(10):
            path = tmp_path / folder / f'{index}.png'
            Image.new('RGB', (8, 8), (value + index, 0, 0)).save(path)
    (tmp_path / 'a' / '5.png').write_text('no image')
    # The head is intact, so that it breaks where it is decoded.
    (tmp_path / 'b' / '5.png').write_bytes((tmp_path / 'b' / '5.png').read_bytes()[:45])
    config = small_config(data__name='folder', data__data_dir=str(tmp_path), data__skip_broken=True)
    found = sources.load(config.data)
    assert found.skipped == 2
    for split in (found.train, found.test):
        values = [(100 if name[0] == 'a' else 200) + int(name[2]) for name in split.files]
        assert split.images[:, 0, 0, 0].tolist() == values
        assert split.labels.tolist() == [int(name[0] == 'b') for name in split.files]


def test_a_split_with_all_classes_wins_over_one_that_lacks_some(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'val/a', 'val/b', 'test/a')
    assert _find(tmp_path).summary == (
        '2 classes, 6 images from train/, 6 from val/, because test/ has no images of b; not used: '
        '3 images in test/'
    )


def test_classes_without_test_images_are_named(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'train/c', 'val/b')
    assert _find(tmp_path).summary.endswith(
        '3 from val/; not tested, since val/ has no images of them: a, c'
    )


@pytest.mark.parametrize(
    ('train', 'test', 'what'),
    [
        ('caf\u00e9', 'cafe\u0301', 'Unicode form'),
        ('Cat', 'cat', 'case'),
        ('caf\u00e9', 'Cafe\u0301', 'Unicode form and case'),
    ],
)
def test_one_class_in_two_spellings_is_named_with_what_makes_them_equal(
    tmp_path, train, test, what
):
    _fill_all(tmp_path, f'train/{train}', 'train/x', f'test/{test}', 'test/x')
    with pytest.raises(UserError, match=f'differ in {what} alone; in Python, os.rename') as error:
        _find(tmp_path)
    call = re.search(r'os\.rename(\(.*\))', str(error.value))
    os.rename(*ast.literal_eval(call[1]))
    assert _find(tmp_path).test.labels.tolist() == [0] * 3 + [1] * 3


@pytest.mark.parametrize(
    ('folders', 'words'),
    [
        (
            ('trainval/a', 'trainval/b', 'test/a'),
            'no train/; rename trainval/ to train/, or rename',
        ),
        (('train_val', 'other', 'val'), 'no train/; rename train_val/ to train/, or rename val/'),
        (('train_a', 'train_b', 'test'), 'no train/; move the training images into train/'),
        # An archive that was unzipped twice.
        (
            ('train/train/a', 'train/train/b', 'test/x'),
            r'move what is in \S+/train up into \S+/train,',
        ),
        (
            ('train/a', 'train/b', 'test/Test/a', 'test/Test/b'),
            r'test/ holds only Test/, .* a/, b/;',
        ),
    ],
)
def test_a_split_by_another_name_or_twice_is_told_what_to_move(tmp_path, folders, words):
    _fill_all(tmp_path, *folders)
    with pytest.raises(UserError, match=words):
        _find(tmp_path)


def test_tests_are_not_passed_over_for_their_spelling(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'test/A', 'test/b', 'val/a', 'val/b')
    with pytest.raises(UserError, match='differ in case alone'):
        _find(tmp_path)
    _fill_all(tmp_path, 'test/a')
    with pytest.raises(UserError, match=r'alone; move the images of \S+/A. into \S+/a'):
        _find(tmp_path)


def test_a_split_that_is_not_used_may_be_as_it_is(tmp_path):
    _fill_all(tmp_path, 'train/a', 'train/b', 'test/a', 'test/b', 'val/val/a', 'val/val/b')
    assert 'from test/; not used: 6 images in val/' in _find(tmp_path).summary


def test_images_without_classes_may_lie_in_a_folder_of_the_name_of_their_split(tmp_path):
    _fill_all(tmp_path, 'train/train', 'test/test')
    assert _find(tmp_path).summary.startswith('no classes, 3 images from train/, 3 from test/')


def test_the_line_names_the_classes_where_they_are_few(tmp_path):
    _fill_all(tmp_path, 'seen', 'unseen')
    assert _find(tmp_path).line == '2 classes (seen, unseen), 4 images, 2 held out for tests'
    _fill_all(tmp_path, *'abcd')
    assert _find(tmp_path).line == _find(tmp_path).summary
