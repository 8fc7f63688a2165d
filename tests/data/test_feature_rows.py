"""Rows of features from every kind of file, in blocks, checked while they are read."""

import errno
import os
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from contrastive_jax.data import row_files
from contrastive_jax.data.feature_rows import array_rows, open_rows
from contrastive_jax.data.survey import survey_rows, warn_if_collapsed
from contrastive_jax.errors import UserError

ROWS = np.random.default_rng(0).normal(size=(53, 4)) + 2


def _lists(rows, fixed=False, column='embedding', **extra):
    kind = {np.float16: pa.float16(), np.float32: pa.float32(), np.float64: pa.float64()}
    values = pa.array(np.ravel(rows), kind[rows.dtype.type])
    if fixed:
        lists = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    else:
        ends = pa.array(np.arange(0, rows.size + 1, rows.shape[1]), pa.int32())
        lists = pa.ListArray.from_arrays(ends, values)
    return pa.table({column: lists, **extra})


def _write(folder, kind, rows):
    path = folder / f'x.{kind.split()[-1]}'
    if kind == 'npy':
        np.save(path, rows)
    elif kind == 'columns first npy':
        np.save(path, np.asfortranarray(rows))
    elif kind == 'npz':
        np.savez(path, rows=rows)
    elif kind == 'packed npz':
        np.savez_compressed(path, rows=rows)
    elif kind == 'pandas parquet':
        frame = pd.DataFrame(rows, index=np.arange(len(rows))[::-1]).add_prefix('f')
        frame.to_parquet(path, row_group_size=9, index=True)
    elif kind.endswith('parquet'):
        table = _lists(rows, 'fixed' in kind, name=pa.array(['a'] * len(rows)))
        pq.write_table(table, path, row_group_size=9)
    elif kind == 'safetensors':
        save_file({'rows': rows}, path)
    return str(path)


KINDS = (
    *('npy', 'columns first npy', 'npz', 'packed npz', 'safetensors'),
    *('parquet', 'fixed parquet', 'pandas parquet'),
)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_gives_the_same_rows(tmp_path, kind, dtype):
    rows = ROWS.astype(dtype)
    read = open_rows(_write(tmp_path, kind, rows))
    assert (len(read), read.width) == rows.shape
    expected = rows.astype(np.float16 if dtype == np.float16 else np.float32)
    for size in (7, 53, 100):
        blocks = list(read.blocks(size))
        assert [len(x) for x in blocks[:-1]] == [size] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_array_equal(np.concatenate(list(read.blocks(5, 11, 40))), expected[11:40])
    found = survey_rows(read, np.array([50, 3]))
    np.testing.assert_array_equal(found.chosen, rows[[50, 3]].astype(np.float32))
    np.testing.assert_allclose(
        found.origin + found.mean, rows.astype(np.float64).mean(0), rtol=1e-6
    )


def test_bfloat16_is_read_from_safetensors(tmp_path):
    rows = np.asarray(jnp.asarray(ROWS, jnp.bfloat16))
    read = open_rows(_write(tmp_path, 'safetensors', rows))
    np.testing.assert_array_equal(np.concatenate(list(read.blocks(8))), rows.astype(np.float32))
    survey_rows(read, np.zeros(0, int))


def test_big_endian_rows_are_read(tmp_path):
    np.save(tmp_path / 'x.npy', ROWS.astype('>f4'))
    (block,) = open_rows(str(tmp_path / 'x.npy')).blocks(100)
    np.testing.assert_array_equal(block, ROWS.astype(np.float32))


@pytest.mark.parametrize('kind', ['npy', 'parquet', 'safetensors'])
def test_shards_follow_each_other_in_the_order_of_their_names(tmp_path, kind):
    for name, part in (('b', ROWS[20:21]), ('a', ROWS[:20]), ('c', ROWS[21:])):
        (tmp_path / name).mkdir()
        os.replace(_write(tmp_path / name, kind, part), tmp_path / f'{name}.{kind}')
        (tmp_path / name).rmdir()
    read = open_rows(str(tmp_path))
    np.testing.assert_array_equal(np.concatenate(list(read.blocks(8))), ROWS.astype(np.float32))
    np.testing.assert_array_equal(next(read.blocks(8, 17)), ROWS[17:25].astype(np.float32))
    assert (
        survey_rows(read, np.zeros(0, int)).checksum
        == survey_rows(array_rows(ROWS), np.zeros(0, int)).checksum
        == read.checksum()
    )


def test_numbers_of_shards_in_another_order_are_said_once(tmp_path, caplog):
    for part in ('part_1', 'part_2', 'part_3'):
        np.save(tmp_path / f'{part}.npy', ROWS[:5])
    open_rows(str(tmp_path))
    assert not caplog.records
    np.save(tmp_path / 'part_10.npy', ROWS[:5])
    for _ in range(2):
        open_rows(str(tmp_path))
    assert len(caplog.records) == 1
    assert 'part_10.npy comes before part_2.npy' in caplog.text


@pytest.mark.parametrize('name', ['x.bin', 'x.csv'])
def test_files_of_other_programs_are_told_how_to_become_one(tmp_path, name):
    if name == 'x.bin':
        with zipfile.ZipFile(tmp_path / name, 'w') as archive:
            archive.writestr('x/data.pkl', b'')
    else:
        (tmp_path / name).write_text('1.0,2.0\n')
    with pytest.raises(UserError, match=r'is none of npy.*tensor\.float\(\)\.cpu\(\)'):
        open_rows(str(tmp_path / name))
    with pytest.raises(UserError, match=r'cannot be read \(no such file\)'):
        open_rows(str(tmp_path / 'none.npy'))


@pytest.mark.parametrize('name', ['x.zip', 'x.npz'])
def test_an_archive_of_other_files_is_to_be_unpacked(tmp_path, name):
    with zipfile.ZipFile(tmp_path / name, 'w') as archive:
        archive.writestr('a/b.png', b'')
    with pytest.raises(UserError, match=r'zip archive of other files, such as a/b\.png; unpack it'):
        open_rows(str(tmp_path / name))


def test_rows_that_hardly_differ_are_said(caplog):
    for scale, warned in ((1e-7, True), (1e-2, False)):
        caplog.clear()
        rows = (1 + scale * ROWS).astype(np.float32)
        found = survey_rows(array_rows(rows), np.zeros(0, int))
        exact = rows.astype(np.float64)
        variance = np.mean(np.sum((exact - exact.mean(0)) ** 2, 1))
        assert found.spread == pytest.approx(variance / np.sum(exact.mean(0) ** 2), rel=1e-3)
        warn_if_collapsed(found.spread, 'rows')
        assert ('hardly differ' in caplog.text) == warned
    single = survey_rows(array_rows(rows[:1]), np.zeros(0, int))
    warn_if_collapsed(single.spread, 'rows')
    assert 'hardly differ' not in caplog.text


def test_hidden_files_and_folders_are_no_shards(tmp_path):
    np.save(tmp_path / '0.npy', ROWS[:20])
    np.save(tmp_path / '1.npy', ROWS[20:])
    (tmp_path / '._0.npy').write_bytes(b'notes of macOS')
    (tmp_path / 'old.npy').mkdir()
    (found,) = open_rows(str(tmp_path)).blocks(53)
    np.testing.assert_allclose(found, ROWS, rtol=1e-6)
    # A link without its file is a shard that is missing.
    (tmp_path / '2.npy').symlink_to(tmp_path / 'gone')
    with pytest.raises(UserError, match=r'2\.npy: .*no such file'):
        open_rows(str(tmp_path))


@pytest.mark.parametrize('shuffled', [True, False])
def test_an_index_of_pandas_on_features_is_named(tmp_path, caplog, shuffled):
    frame = pd.DataFrame(ROWS)
    frame.columns = frame.columns.astype(str)
    (frame.sample(frac=1, random_state=0) if shuffled else frame).to_parquet(tmp_path / 'x.parquet')
    assert len(open_rows(str(tmp_path / 'x.parquet'))) == 53
    assert ('holds an index of pandas; it is not used' in caplog.text) == shuffled


def test_shards_of_other_widths_are_refused(tmp_path):
    np.save(tmp_path / 'a.npy', ROWS)
    np.save(tmp_path / 'b.npy', ROWS[:, :3])
    with pytest.raises(UserError, match=r'b\.npy: has 3 columns, and .*a\.npy has 4'):
        open_rows(str(tmp_path))


def test_folders_without_shards_of_one_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match='it holds none'):
        open_rows(str(tmp_path))
    np.save(tmp_path / 'a.npy', ROWS)
    np.savez(tmp_path / 'b.npz', ROWS)
    with pytest.raises(UserError, match='needs shards of one kind'):
        open_rows(str(tmp_path))


@pytest.mark.parametrize(
    ('table', 'words'),
    [
        (pa.table({'x': ['a', 'b']}), 'needs one column of lists of floats; it holds x: string'),
        (pa.table({'x': [['a'], ['b']]}), 'needs one column of lists of floats'),
        (pa.table({'x': [1.0, 2.0]}), 'needs one column of lists of floats; it holds x: double'),
        (pa.table({'x': [[1.0], [2.0]], 'y': [[1.0], [2.0]]}), 'needs one column'),
        (pa.table({'0': [1.0], '1': [2.0], 'label': [3]}), 'columns of floats alone, named 0, 1'),
        (pa.table({'score': [1.0], 'alpha': [2.0]}), 'needs one column of lists'),
        (
            pa.table({**{str(i): [1.0] for i in range(600)}, 'label': [3]}),
            r'it holds label: int64, 0: double, 1: double, 2: double, 3: double and 596 more; or',
        ),
        (pa.table({'0': [1.0], '2': [2.0]}), 'needs one column of lists'),
        (pa.table({'f1': [1.0, 2.0], 'f2': [2.0, None]}), 'row 1 holds no number in column f2'),
        (pa.table({'x': [[1.0, 2.0], [1.0]]}), 'row 1 holds 1'),
        (pa.table({'x': [[1.0, 2.0], None]}), 'row 1 holds'),
        (pa.table({'x': pa.array([], pa.list_(pa.float32()))}), 'is empty'),
    ],
)
def test_parquet_that_holds_no_rows_is_refused(tmp_path, table, words):
    pq.write_table(table, tmp_path / 'x.parquet')
    with pytest.raises(UserError, match=words):
        survey_rows(open_rows(str(tmp_path / 'x.parquet')), np.zeros(0, int))


@pytest.mark.parametrize('method', ['is_dir', 'iterdir'])
def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch, method):
    def refusing(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(Path, method, refusing)
    with pytest.raises(UserError, match=r'cannot be read \(Permission denied\); allow it, or'):
        open_rows(str(tmp_path))


@pytest.mark.parametrize('kind', ['npy', 'npz', 'parquet', 'safetensors'])
def test_damaged_files_are_one_line(tmp_path, kind):
    path = _write(tmp_path, kind, ROWS)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r'x.*: cannot be read') as caught:
        survey_rows(open_rows(path), np.zeros(0, int))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('value', 'words'),
    [(np.nan, 'NaN'), (np.inf, 'infinity'), (0.0, 'only zeros'), (1e300, 'overflow')],
)
def test_bad_rows_are_named_with_their_file(tmp_path, value, words):
    np.save(tmp_path / 'a.npy', ROWS)
    rows = ROWS.copy()
    rows[31] = value
    np.save(tmp_path / 'b.npy', rows)
    with pytest.raises(UserError, match=rf'b\.npy: row 31 holds .*{words}'):
        survey_rows(open_rows(str(tmp_path)), np.zeros(0, int))


@pytest.mark.parametrize('change', ['longer', 'touched', 'gone'])
def test_a_file_that_changes_is_noticed(tmp_path, change):
    path = tmp_path / 'x.npy'
    np.save(path, ROWS)
    read = open_rows(str(path))
    read.check_unchanged()
    if change == 'longer':
        np.save(path, np.concatenate([ROWS, ROWS]))
    elif change == 'touched':
        os.utime(path, ns=(0, 0))
    else:
        path.unlink()
    with pytest.raises(UserError, match=r'x\.npy: has been changed while it was read'):
        survey_rows(read, np.zeros(0, int))


def test_a_memory_map_is_read_block_by_block(tmp_path):
    np.save(tmp_path / 'x.npy', ROWS)
    mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
    blocks = list(array_rows(mapped).blocks(10))
    np.testing.assert_array_equal(np.concatenate(blocks), ROWS.astype(np.float32))


def test_small_features_are_no_collapsed_ones():
    few = np.zeros(0, int)
    spread = survey_rows(array_rows(ROWS.astype(np.float32)), few).spread
    tiny = survey_rows(array_rows(ROWS.astype(np.float32) * np.float32(1e-25)), few).spread
    np.testing.assert_allclose(tiny, spread, rtol=1e-4)


def test_bfloat16_is_read_as_an_array_and_named_in_a_file(tmp_path):
    half = np.asarray(jnp.asarray(ROWS, jnp.bfloat16))
    (block,) = array_rows(half).blocks(len(ROWS))
    np.testing.assert_array_equal(block, half.astype(np.float32))
    np.save(tmp_path / 'x.npy', half)
    with pytest.raises(UserError, match=r'take features\.astype\("float32"\) before saving'):
        open_rows(str(tmp_path / 'x.npy'))


def test_an_npy_file_of_several_arrays_is_refused(tmp_path):
    path = tmp_path / 'x.npy'
    with path.open('wb') as file:
        for part in np.split(ROWS[:52], 4):
            np.save(file, part)
    with pytest.raises(UserError, match=r'bytes follow its first array \[13, 4\]'):
        open_rows(str(path))


def test_what_a_folder_of_shards_holds_besides_is_counted(tmp_path, caplog):
    (tmp_path / 'more').mkdir()
    for name in ('a.npy', 'more/b.npy', 'a.npy.part'):
        with (tmp_path / name).open('wb') as file:
            np.save(file, ROWS)
    assert len(open_rows(str(tmp_path))) == len(open_rows(str(tmp_path))) == len(ROWS)
    assert caplog.text.count('not read: a.npy.part, more/; only files of features') == 1


def test_a_full_folder_of_temporary_files_is_named(tmp_path, monkeypatch):
    path = _write(tmp_path, 'packed npz', ROWS)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(row_files.shutil, 'copyfileobj', full)
    with pytest.raises(UserError, match=r'No space left on device\); set TMPDIR to a folder'):
        open_rows(path)
