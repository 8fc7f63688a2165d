import csv
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contrastive_jax.data.score_files import ScoreFile, read_indices, read_scores, write_scores
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import write_arrays

WHERE = 'config.removal.scores'
# As a folder may hold them: what csv quotes, what is no UTF-8, what no font has.
FILES = (
    'plain.png',
    'a,b.png',
    'say "cheese".png',
    'two\nlines.png',
    'carriage\rreturn.png',
    os.fsdecode(b'caf\xe9.png'),
    '字.png',
)


def _read(path, n=10, checksum='abc', **more):
    return read_scores(str(path), n=n, checksum=checksum, where=WHERE, **more)


def test_what_is_written_is_read(tmp_path):
    index = np.array([1, 2, 5, 7])
    columns = {'score': np.array([0.1, 1 / 3, 2, 1e-30]), 'latent_class': np.array([3, 3, 0, 1])}
    write_scores(tmp_path / 'scores.npz', ScoreFile(columns, 'abc', index, FILES[:4]))
    found = _read(tmp_path / 'scores.npz')
    np.testing.assert_array_equal(found.index, index)
    for name, column in columns.items():
        np.testing.assert_array_equal(found.columns[name], column)
    assert found.checksum == 'abc'
    np.testing.assert_array_equal(found.rows_of(np.array([7, 0, 1, 9, 5])), [3, -1, 0, -1, 2])


def test_names_of_files_survive_in_both_files(tmp_path):
    count = len(FILES)
    scores = ScoreFile({'score': np.arange(count) / 7}, None, np.arange(count) + 3, FILES)
    write_scores(tmp_path / 'scores.npz', scores)
    with np.load(tmp_path / 'scores.npz') as arrays:
        assert tuple(arrays['file'].tolist()) == FILES
        assert arrays.files[:4] == ['checksum', 'index', 'file', 'score']
    with open(
        tmp_path / 'scores.csv', encoding='utf-8', errors='surrogateescape', newline=''
    ) as file:
        rows = list(csv.DictReader(file))
    assert tuple(row['file'] for row in rows) == FILES
    assert [int(row['index']) for row in rows] == list(range(3, 3 + count))
    assert [float(row['score']) for row in rows] == (np.arange(count) / 7).tolist()
    assert b'caf\xe9.png' in (tmp_path / 'scores.csv').read_bytes()
    # They change nothing for whoever reads the numbers.
    assert set(_read(tmp_path / 'scores.npz').columns) == {'score'}


def test_files_of_before_are_read(tmp_path):
    columns = {'score': np.linspace(0, 1, 10), 'boundary': np.linspace(1, 0, 10)}
    np.savez(tmp_path / 'old.npz', checksum=np.array('abc'), index=np.arange(10), **columns)
    np.savez(tmp_path / 'none.npz', **columns)
    np.save(tmp_path / 'own.npy', columns['score'])
    for name in ('old.npz', 'none.npz', 'own.npy'):
        found = _read(tmp_path / name)
        np.testing.assert_array_equal(found.index, np.arange(10))
        np.testing.assert_array_equal(found.columns['score'], columns['score'])


def test_an_order_of_their_own_is_put_right(tmp_path):
    index = np.random.default_rng(0).permutation(10)
    np.savez(tmp_path / 'scores.npz', index=index, score=index / 10)
    found = _read(tmp_path / 'scores.npz')
    images = np.arange(10)
    np.testing.assert_array_equal(found.columns['score'][found.rows_of(images)], images / 10)


@pytest.mark.parametrize('dtype', ['>f4', '>i2', np.longdouble, np.float16, bool])
def test_numbers_of_any_type_become_native_doubles(tmp_path, dtype):
    np.savez(tmp_path / 'scores.npz', score=np.arange(10).astype(dtype), note=np.array('mine'))
    score = _read(tmp_path / 'scores.npz').columns['score']
    assert score.dtype == np.float64
    assert score.dtype.isnative
    np.testing.assert_array_equal(score, np.arange(10).astype(dtype).astype(float))


@pytest.mark.parametrize(
    ('arrays', 'words'),
    [
        ({'score': np.ones(10, complex)}, 'score holds complex128; need numbers'),
        ({'score': np.ones(10).astype(str)}, r'score holds <U\d+; need numbers'),
        ({'score': np.r_[np.ones(4), np.nan, np.ones(5)]}, 'score holds NaN, first in row 4'),
        ({'score': np.ones(3)}, r'score is \[3\], and there are 10 training images'),
        ({'score': np.ones(3), 'index': [1, 2]}, r'score is \[3\], and there are 2 scored images'),
        ({'score': np.ones(3), 'index': [1, 2, 10]}, 'index is from 1 to 10, and there are 10'),
        ({'score': np.ones(3), 'index': [-1, 2, 3]}, 'index is from -1 to 3'),
        ({'score': np.ones(3), 'index': [1, 2, 2]}, 'index names an image twice'),
        ({'score': np.ones(3), 'index': [0.0, 1, 2]}, 'index holds float64; need integers'),
        ({'score': np.ones(0), 'index': np.zeros(0, int)}, 'holds no scores'),
        ({'score': np.ones(10), 'checksum': np.array('x')}, 'belongs to other images'),
    ],
)
def test_what_is_no_score_for_each_image_is_refused(tmp_path, arrays, words):
    np.savez(tmp_path / 'scores.npz', **arrays)
    with pytest.raises(UserError, match=rf'config\.removal\.scores=.*{words}'):
        _read(tmp_path / 'scores.npz')


@pytest.mark.parametrize('landmarks', [None, 64])
def test_parquet_holds_the_same_as_npz(tmp_path, landmarks):
    index = np.array([4, 0, 9])
    columns = {'score': np.array([0.5, 1 / 3, 0.25], np.float32), 'boundary': np.arange(3) / 7}
    scores = ScoreFile(columns, 'abc', index, FILES[4:7], landmarks)
    write_scores(tmp_path / 'scores.npz', scores)
    found = [_read(tmp_path / f'scores.{kind}') for kind in ('npz', 'parquet')]
    for one in found:
        np.testing.assert_array_equal(one.index, index)
        assert one.checksum == 'abc'
        assert one.landmarks == landmarks
        assert one.kind() == ('exact' if landmarks is None else 'landmarks=64')
        for name, column in columns.items():
            np.testing.assert_array_equal(one.columns[name], column)
    with pytest.raises(UserError, match='belongs to other images'):
        _read(tmp_path / 'scores.parquet', checksum='other')


def test_scores_of_others_have_no_kind(tmp_path):
    np.save(tmp_path / 'own.npy', np.arange(10) / 10)
    assert _read(tmp_path / 'own.npy').kind() is None


@pytest.mark.parametrize('name', [None, 'image'])
def test_an_index_of_pandas_says_which_images_the_rows_are_of(tmp_path, name):
    frame = pd.DataFrame({'score': [0.2, 0.0, 0.1]}, index=pd.Index([2, 0, 1], name=name))
    frame.to_parquet(tmp_path / 'own.parquet')
    found = _read(tmp_path / 'own.parquet')
    np.testing.assert_array_equal(found.index, [2, 0, 1])
    assert set(found.columns) == {'score'}


@pytest.mark.parametrize('change', ['reversed', 'part'])
def test_a_range_of_pandas_says_which_images_the_rows_are_of(tmp_path, change):
    frame = pd.DataFrame({'score': np.arange(10) / 10})
    frame = frame[::-1] if change == 'reversed' else frame.iloc[4:7]
    frame.to_parquet(tmp_path / 'own.parquet')
    found = _read(tmp_path / 'own.parquet')
    np.testing.assert_array_equal(found.index, np.round(10 * found.columns['score']))
    assert len(found.index) == len(frame)


@pytest.mark.parametrize('kind', ['parquet', 'npz'])
def test_names_of_files_say_which_images_scores_of_others_are_of(tmp_path, kind):
    names, score = ['b/1, 2.png', 'a/0.png', 'b/\\xff.png'], np.array([0.9, 0.1, 0.5])
    if kind == 'npz':
        write_arrays(tmp_path / 'own.npz', {'file': np.array(names), 'score': score})
    else:
        frame = pd.DataFrame({'file': names, 'score': score}, index=[2, 0, 1])
        frame.to_parquet(tmp_path / 'own.parquet')
    found = _read(tmp_path / f'own.{kind}', n=4, files=IN_FOLDER)
    np.testing.assert_array_equal(found.index, [3, 0, 2])
    with pytest.raises(UserError, match='none of its files'):
        _read(tmp_path / f'own.{kind}', n=4, files=('c.png', 'd.png', 'e.png', 'f.png'))


def test_an_index_of_texts_names_files(tmp_path):
    names = pd.Index(['b/1, 2.png', 'a/0.png', 'b/\\xff.png'], name='path')
    pd.DataFrame({'score': [0.9, 0.1, 0.5]}, names).to_parquet(tmp_path / 'own.parquet')
    found = _read(tmp_path / 'own.parquet', n=4, files=IN_FOLDER)
    np.testing.assert_array_equal(found.index, [3, 0, 2])


def test_an_index_of_several_levels_is_refused(tmp_path):
    levels = pd.MultiIndex.from_tuples([('a', 1), ('a', 0), ('b', 2)])
    frame = pd.DataFrame({'score': [0.9, 0.1, 0.5]}, levels)
    frame.to_parquet(tmp_path / 'own.parquet')
    with pytest.raises(UserError, match=r'its index has 2 levels.*give a column file or index'):
        _read(tmp_path / 'own.parquet', n=3)
    frame.assign(index=[2, 0, 1]).to_parquet(tmp_path / 'own.parquet')
    np.testing.assert_array_equal(_read(tmp_path / 'own.parquet', n=3).index, [2, 0, 1])


def test_metadata_of_an_index_that_was_dropped_is_no_index(tmp_path):
    frame = pd.DataFrame({'score': [0.2, 0.0, 0.1]}, index=[2, 0, 1])
    pq.write_table(pa.Table.from_pandas(frame).select(['score']), tmp_path / 'own.parquet')
    np.testing.assert_array_equal(_read(tmp_path / 'own.parquet', n=3).index, [0, 1, 2])


@pytest.mark.parametrize('kind', ['parquet', 'npz'])
def test_a_column_checksum_of_others_is_not_looked_at(tmp_path, kind):
    columns = {'score': np.array([0.9, 0.1, 0.5]), 'checksum': np.array(['a', 'b', 'c'])}
    if kind == 'npz':
        write_arrays(tmp_path / 'own.npz', columns)
    else:
        pd.DataFrame(columns).to_parquet(tmp_path / 'own.parquet')
    found = _read(tmp_path / f'own.{kind}', n=3)
    assert found.checksum is None
    assert set(found.columns) == {'score'}


@pytest.mark.parametrize('kind', ['bytes', 'none', 'rows'])
def test_names_of_files_of_any_kind(tmp_path, kind):
    names = np.array(['b/1, 2.png', 'a/0.png', 'a/1.png', 'b/\\xff.png'])
    if kind == 'bytes':
        names = names.astype('S')
    columns = {'file': names, 'score': np.arange(4.0)}
    if kind == 'none':
        columns |= {'file': np.array(['', '', '', '']), 'index': np.array([3, 0, 1, 2])}
    if kind == 'rows':
        columns = {name: column[:0] for name, column in columns.items()}
    write_arrays(tmp_path / 'own.npz', columns)
    if kind == 'rows':
        with pytest.raises(UserError, match=r'score is \[0\], and there are 4'):
            _read(tmp_path / 'own.npz', n=4, files=IN_FOLDER)
        return
    found = _read(tmp_path / 'own.npz', n=4, files=IN_FOLDER)
    np.testing.assert_array_equal(found.index, [3, 0, 1, 2])


def test_a_column_file_without_names_is_refused(tmp_path):
    write_arrays(tmp_path / 'own.npz', {'file': np.arange(1.0, 5), 'score': np.arange(4.0)})
    with pytest.raises(UserError, match='file holds float64; need names of files'):
        _read(tmp_path / 'own.npz', n=4, files=IN_FOLDER)


def test_other_columns_of_others_are_not_looked_at(tmp_path):
    more = {'age': np.r_[np.nan, np.ones(9)], 'threshold': np.array(0.5), 'width': np.arange(10)}
    np.savez(tmp_path / 'own.npz', score=np.arange(10) / 10, **more)
    assert set(_read(tmp_path / 'own.npz').columns) == {'score', 'width'}


@pytest.mark.parametrize(
    'arrays', [{'score': np.r_[np.nan, np.ones(9)]}, {'score': np.ones(2), 'index': [3, 10]}]
)
def test_others_are_not_told_to_score_again(tmp_path, arrays):
    np.savez(tmp_path / 'own.npz', **arrays)
    with pytest.raises(UserError, match=r'; make it again$'):
        _read(tmp_path / 'own.npz', remedy='make it again')


@pytest.mark.parametrize(('name', 'kind'), [('a/b.png', str), ('caf\udce9.png', bytes)])
def test_names_of_files_are_texts_in_parquet_where_they_can_be(tmp_path, name, kind):
    file = ScoreFile({'score': np.zeros(2)}, None, files=('日.png', name))
    write_scores(tmp_path / 'scores.npz', file)
    names = pd.read_parquet(tmp_path / 'scores.parquet')['file']
    assert all(isinstance(text, kind) for text in names)
    assert names[1] == (name if kind is str else b'caf\xe9.png')


@pytest.mark.parametrize(('row', 'words'), [('1' + 23 * '0', 'needs'), (200_000 * '1', 'be read')])
def test_an_index_that_is_no_index_is_one_line(tmp_path, row, words):
    (tmp_path / 'own.csv').write_text(f'index\n{row}\n')
    with pytest.raises(UserError, match=words):
        read_indices(str(tmp_path / 'own.csv'), 10, 'config.removal.scores')


def test_many_rows_are_written_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr('contrastive_jax.data.score_files._GROUP', 3)
    monkeypatch.setattr('contrastive_jax.data.score_table._GROUP', 4)
    scores, files = np.arange(10) / 9, tuple(f'caf\udce9 {i}.png' for i in range(10))
    write_scores(tmp_path / 'scores.npz', ScoreFile({'score': scores}, 'abc', files=files))
    for name in ('scores.npz', 'scores.parquet'):
        np.testing.assert_array_equal(_read(tmp_path / name).columns['score'], scores)
    with (tmp_path / 'scores.csv').open(errors='surrogateescape', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [int(row['index']) for row in rows] == list(range(10))
    assert tuple(row['file'] for row in rows) == files
    np.testing.assert_array_equal([float(row['score']) for row in rows], scores)


def test_damaged_parquet_is_one_line(tmp_path):
    (tmp_path / 'scores.parquet').write_bytes(b'PAR1 and no more')
    with pytest.raises(UserError, match=r'scores\.parquet: cannot be read'):
        _read(tmp_path / 'scores.parquet')


# As a folder source has them, whose names are printable.
IN_FOLDER = ('a/0.png', 'a/1.png', 'b/\\xff.png', 'b/1, 2.png')


def test_a_list_names_images_by_their_files(tmp_path):
    path = tmp_path / 'list.csv'
    # The numbers are those of a folder in which a file came first that is gone.
    path.write_bytes(b'index,score,file\n3,0.9,b/\xff.png\n4,0.8,"b/1, 2.png"\n')
    np.testing.assert_array_equal(read_indices(str(path), 4, 'x', IN_FOLDER), [2, 3])
    (tmp_path / 'empty.csv').write_text('index,file\n3,\n1,\n')
    np.testing.assert_array_equal(
        read_indices(str(tmp_path / 'empty.csv'), 4, 'x', IN_FOLDER), [3, 1]
    )
    (tmp_path / 'wide.csv').write_text('index,file\n3,a/1.png\n', encoding='utf-16')
    np.testing.assert_array_equal(read_indices(str(tmp_path / 'wide.csv'), 4, 'x', IN_FOLDER), [1])
    (tmp_path / 'other.csv').write_text('file;index\na/1.png;3\n')
    with pytest.raises(UserError, match='or "file" for image files; it has file;index'):
        read_indices(str(tmp_path / 'other.csv'), 4, 'x', IN_FOLDER)
    # Images that are no files have their numbers alone.
    np.testing.assert_array_equal(read_indices(str(path), 5, 'x'), [3, 4])


@pytest.mark.parametrize(
    ('rows', 'words'),
    [
        (
            'b/1.png\na/1.png\nc/1.png\n',
            "2 of 3 files are no training images, first 'b/1.png'",
        ),
        ('a/1.png\na/0.png\na/1.png\n', 'names a file twice'),
        (
            'c/1.png\n',
            "none of its files, such as 'c/1.png', is a training image, such as",
        ),
    ],
)
def test_a_list_of_other_files_is_refused(tmp_path, rows, words):
    (tmp_path / 'list.csv').write_text('file\n' + rows)
    with pytest.raises(UserError, match=words):
        read_indices(str(tmp_path / 'list.csv'), 4, 'x', IN_FOLDER)


def test_a_list_or_a_folder_in_place_of_scores_is_one_line(tmp_path):
    (tmp_path / 'list.csv').write_text('index\n1\n')
    with pytest.raises(UserError, match=r'a CSV file names images; give the scores\.npz beside it'):
        _read(tmp_path / 'list.csv')
    with pytest.raises(UserError, match=r'is a folder; give the scores\.npz in it'):
        _read(tmp_path)


def test_scores_of_ones_own_are_for_training_images(tmp_path):
    np.savez(tmp_path / 'scores.npz', score=np.ones(12))
    with pytest.raises(UserError, match='10 training images; as I say'):
        _read(tmp_path / 'scores.npz', remedy='as I say')
    np.savez(tmp_path / 'scores.npz', score=np.ones(12), checksum=np.array('abc'))
    with pytest.raises(UserError, match='score this data set again'):
        _read(tmp_path / 'scores.npz')
