import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from contrastive_jax import bounds, probe, score
from contrastive_jax.data import feature_files
from contrastive_jax.data.feature_files import (
    as_given,
    checked_labels,
    numbered,
    read_features,
    read_labels,
    read_splits,
)
from contrastive_jax.data.sampling import representative
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import Options, from_files
from contrastive_jax.evaluation.similarities import measure_files

ROWS = np.random.default_rng(0).normal(size=(30, 4)) + 2
LABELS = np.repeat([507, 21, 40507], 10)


def _with(row, column, value, dtype=np.float64):
    rows = ROWS.astype(dtype)
    rows[row, column] = value
    return rows


# Each with the words that name what is wrong.
BAD_ROWS = {
    'nan': (_with(7, 1, np.nan), 'row 7 holds NaN'),
    'infinity': (_with(3, 0, -np.inf), 'row 3 holds infinity'),
    'float16 infinity': (_with(3, 0, np.inf, np.float16), 'row 3 holds infinity'),
    'overflow': (_with(5, 2, 1e300), r'row 5 holds values beyond .*, which overflow in float\d\d'),
    'longdouble overflow': (
        _with(5, 2, np.longdouble('1e4000'), np.longdouble),
        r'row 5 holds values beyond .*, which overflow in float\d\d',
    ),
    'empty': (np.zeros((0, 4)), r'is empty, of shape \(0, 4\)'),
    'no columns': (np.zeros((30, 0)), r'is empty, of shape \(30, 0\)'),
    'a vector': (ROWS[:, 0], r'holds float64 \[30\]; need floats \[n, k\]'),
    'integers': (ROWS.astype(int), r'holds int64 \[30, 4\]; need floats'),
    'complex': (ROWS.astype(complex), r'holds complex128 \[30, 4\]; need floats'),
    'texts': (ROWS.astype(str), r'holds <U\d+ \[30, 4\]; need floats'),
    'objects': (ROWS.astype(object), 'cannot be read'),
    'records': (np.zeros((30, 4), 'f4,f4'), 'need floats'),
}
GOOD_ROWS = {
    'big endian': ROWS.astype('>f4'),
    'big endian double': ROWS.astype('>f8'),
    'longdouble': ROWS.astype(np.longdouble),
    'float16': ROWS.astype(np.float16),
    'columns first': np.asfortranarray(ROWS),
}
BAD_LABELS = {
    'floats': LABELS.astype(float),
    'truths': LABELS > 100,
    'texts': LABELS.astype(str),
    'a column': LABELS[:, None],
    'too few': LABELS[1:],
}


def _save(path, array):
    np.save(path, array, allow_pickle=array.dtype == object)
    return str(path)


@pytest.fixture(params=['score', 'bounds', 'probe train', 'probe test'])
def command(request, tmp_path):
    """Name of a command, what runs it on features and labels, and what it calls the two."""

    def run(rows=ROWS, labels=LABELS):
        if request.param.startswith('probe'):
            split = request.param.split()[1]
            arrays = {'train_features': ROWS, 'train_labels': LABELS}
            arrays |= {'test_features': ROWS, 'test_labels': LABELS}
            arrays |= {f'{split}_features': rows, f'{split}_labels': labels}
            np.savez(tmp_path / 's.npz', **arrays)
            return probe.run(str(tmp_path / 's.npz'), None, 2)
        files = _save(tmp_path / 'x.npy', rows), _save(tmp_path / 'y.npy', labels)
        if request.param == 'score':
            return score.run(from_files(*files), Options(), tmp_path / 'out')
        return bounds.fitted(measure_files(*files, 30))

    if request.param.startswith('probe'):
        split = request.param.split()[1]
        names = f'{split}_features', f'{split}_labels'
    else:
        names = 'x.npy', 'y.npy'
    return request.param, run, *names


@pytest.mark.parametrize('kind', BAD_ROWS)
def test_every_command_refuses_bad_features_and_names_them(command, kind):
    name, run, features, _ = command
    rows, words = BAD_ROWS[kind]
    # Of an archive that would have to be unpickled only the file is known.
    where = 's.npz' if kind == 'objects' and name.startswith('probe') else features
    with pytest.raises(UserError, match=rf'{where}.*{words}'):
        run(rows=rows)


@pytest.mark.parametrize('kind', BAD_LABELS)
def test_every_command_refuses_bad_labels_and_names_them(command, kind):
    _, run, _, labels = command
    with pytest.raises(UserError, match=rf'{labels}: holds .*; need 30 integers, one for each row'):
        run(labels=BAD_LABELS[kind])


@pytest.mark.parametrize(
    ('labels', 'cure'),
    [
        (['b', 'a', 'b'], ': numpy.unique(names, return_inverse=True)[1] numbers them'),
        ([[0], [2], [1]], ': take labels[:, 0]'),
        (np.eye(3), ': of one-hot rows, take labels.argmax(1)'),
        ([0.0, 2.0, 1.0], ': take labels.astype(int)'),
        ([0, 1], 'one for each row of features'),
    ],
)
def test_labels_of_a_usual_other_kind_are_told_their_cure(labels, cure):
    with pytest.raises(UserError) as error:
        checked_labels(np.array(labels), 3, 'y.npy')
    assert str(error.value).endswith(cure)


def test_what_cannot_be_labels_is_told_apart(tmp_path):
    (tmp_path / 'y.csv').write_text('1\n2\n')
    np.save(tmp_path / 'y.npy', np.array(['a'], object), allow_pickle=True)
    for name, words in (
        ('y.csv', 'is no npy or npz file.*numpy.loadtxt'),
        ('y.npy', 'holds Python objects'),
        ('none.npy', 'no such file'),
    ):
        with pytest.raises(UserError, match=words) as error:
            read_labels(str(tmp_path / name), 2)
        # Unpickling a file runs what is in it.
        assert 'allow_pickle' not in str(error.value)


def test_every_command_refuses_labels_that_stand_for_unknown_classes(command):
    _, run, _, labels = command
    with pytest.raises(UserError, match=rf'{labels}: 2 of 30 labels are -1.*remove these rows'):
        run(labels=np.where(np.arange(30) < 2, -1, LABELS))


@pytest.mark.parametrize('kind', GOOD_ROWS)
def test_floats_of_any_type_are_read(tmp_path, kind):
    path = _save(tmp_path / 'x.npy', GOOD_ROWS[kind])
    for dtype in (np.float32, np.float64):
        found = read_features(path, None, dtype=dtype).rows
        assert found.dtype == dtype
        assert found.dtype.isnative
        rounding = 1e-3 if kind == 'float16' else 1e-6
        np.testing.assert_allclose(found, ROWS, rtol=rounding)


@pytest.mark.parametrize('dtype', ['i2', 'u1', '>i4', '>u8', 'i8'])
def test_labels_of_any_integer_type_are_numbered_as_they_occur(tmp_path, dtype):
    labels = np.array([5, 21, 200, 21, 5], dtype)
    paths = _save(tmp_path / 'x.npy', ROWS[:5]), _save(tmp_path / 'y.npy', labels)
    found = read_features(*paths)
    np.testing.assert_array_equal(found.labels, [0, 1, 2, 1, 0])
    assert found.classes == ('5', '21', '200')


def test_both_splits_share_their_numbers():
    large = 2**63 + 5
    classes, train, test = numbered(
        np.array([-7, 3, 2**62], np.int64), np.array([3, large], np.uint64)
    )
    assert classes == ('-7', '3', str(2**62), str(large))
    np.testing.assert_array_equal(train, [0, 1, 2])
    np.testing.assert_array_equal(test, [1, 3])


def test_a_row_without_a_direction_is_refused_where_one_is_needed(tmp_path):
    rows = _with(2, slice(None), 0)
    path = _save(tmp_path / 'x.npy', rows)
    with pytest.raises(UserError, match=r'x\.npy: row 2 holds only zeros, so that it has no direc'):
        read_features(path, None)
    arrays = {'train_features': rows, 'test_features': ROWS}
    np.savez(tmp_path / 's.npz', **arrays, train_labels=LABELS, test_labels=LABELS)
    train, _ = read_splits(str(tmp_path / 's.npz'))
    np.testing.assert_array_equal(train.rows[2], 0)


def test_a_row_that_vanishes_in_float32_is_refused_there_alone(tmp_path):
    path = _save(tmp_path / 'x.npy', _with(2, slice(None), 1e-60))
    with pytest.raises(UserError, match='row 2 holds only values that are zero in float32'):
        read_features(path, None)
    assert np.all(read_features(path, None, dtype=np.float64).rows[2] == 1e-60)


def test_an_archive_of_one_array_is_read_and_one_of_several_refused(tmp_path):
    np.savez(tmp_path / 'one.npz', ROWS)
    np.testing.assert_allclose(read_features(str(tmp_path / 'one.npz'), None).rows, ROWS, rtol=1e-6)
    np.savez(tmp_path / 'two.npz', a=ROWS, b=ROWS)
    with pytest.raises(UserError, match=r'holds 2 arrays \(a, b\); need one'):
        read_features(str(tmp_path / 'two.npz'), None)


def test_features_are_read_from_every_kind_of_file_and_from_shards(tmp_path):
    rows = ROWS.astype(np.float32)
    save_file({'features': rows}, tmp_path / 'x.safetensors')
    column = pa.array(list(rows), pa.list_(pa.float32()))
    pq.write_table(pa.table({'features': column}), tmp_path / 'x.parquet')
    shards = tmp_path / 'shards'
    shards.mkdir()
    for place, part in enumerate(np.array_split(rows, 3)):
        _save(shards / f'{place}.npy', part)
    for name in ('x.safetensors', 'x.parquet', 'shards'):
        np.testing.assert_array_equal(read_features(str(tmp_path / name), None).rows, rows)
    _save(shards / '1.npy', _with(2, slice(None), 0)[:5])
    with pytest.raises(UserError, match=r'1\.npy: row 2 holds only zeros'):
        read_features(str(shards), None)


def test_a_probe_needs_training_rows_of_every_class(tmp_path):
    arrays = {'train_features': ROWS[:1], 'train_labels': LABELS[:1]}
    np.savez(tmp_path / 's.npz', **arrays, test_features=ROWS, test_labels=LABELS)
    with pytest.raises(UserError, match='train_features: holds one row'):
        probe.run(str(tmp_path / 's.npz'), None, 1)
    arrays = {'train_features': ROWS[:20], 'train_labels': LABELS[:20]}
    np.savez(tmp_path / 's.npz', **arrays, test_features=ROWS, test_labels=LABELS)
    with pytest.raises(UserError, match='test_labels: class 40507 has no row in train_labels'):
        probe.run(str(tmp_path / 's.npz'), None, 2)


@pytest.mark.parametrize(
    ('scale', 'labels', 'words'),
    [
        (0.0, [0, 1], 'train_features: holds no value of at least 1e-18'),
        (1e-30, [0, 1], 'scale the features'),
        (1.0, [7, 7], 'train_labels: all labels are 7; give at least two classes'),
    ],
)
def test_a_probe_of_nothing_is_refused(scale, labels, words, tmp_path):
    rows, labels = scale * ROWS, np.resize(labels, len(ROWS))
    arrays = {'train_features': rows, 'test_features': rows}
    np.savez(tmp_path / 's.npz', train_labels=labels, test_labels=labels, **arrays)
    with pytest.raises(UserError, match=words):
        read_splits(str(tmp_path / 's.npz'))


@pytest.mark.parametrize(
    'given', [[7, 27, 17, 7], [0, 1, 2, 0], [-3, 5, 5, 0], [10**17, -(10**17), 0, 1]]
)
def test_labels_come_back_as_they_were_given(given):
    classes, labels = numbered(np.array(given))
    assert as_given(labels, classes).tolist() == given


@pytest.mark.parametrize(
    'classes', [('cat', 'dog'), ('7', 'dog'), ('007', '8'), ('1_0', '2'), ('1', 20 * '9')]
)
def test_labels_of_classes_with_names_are_indices(classes):
    assert as_given(np.array([1, 0, 1]), classes).tolist() == [1, 0, 1]


def test_samples_without_a_label_have_none_as_given():
    assert as_given(np.array([1, -1, 0]), ('7', '17')).tolist() == [17, -1, 7]


@pytest.mark.parametrize('with_labels', [False, True])
def test_a_sample_of_the_rows_is_that_of_all_rows(tmp_path, monkeypatch, with_labels):
    monkeypatch.setattr(feature_files, '_PIECE_NUMBERS', 6)
    rows = np.arange(1, 43, dtype=np.float32).reshape(21, 2)
    features = _save(tmp_path / 'rows.npy', rows)
    labels = _save(tmp_path / 'labels.npy', np.arange(21) % 3) if with_labels else None
    drawn = read_features(str(features), labels and str(labels), most=7)
    kept = representative(21, 7, np.arange(21) % 3 if with_labels else None)
    np.testing.assert_array_equal(drawn.rows, rows[kept])
    if with_labels:
        np.testing.assert_array_equal(drawn.labels, kept % 3)
