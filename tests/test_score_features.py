"""Scores of features of any encoder, and the command that writes them."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from contrastive_jax import graph, score
from contrastive_jax.data.score_files import read_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.row_scores import rows_of_samples
from contrastive_jax.evaluation.samples import Options, Samples, from_files
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.graph.neighbours import find_neighbours
from contrastive_jax.graph.verdicts import VERDICTS
from tests.processes import command

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture
def files(tmp_path):
    features = np.random.default_rng(0).normal(size=(30, 5))
    np.save(tmp_path / 'features.npy', features)
    np.save(tmp_path / 'labels.npy', np.arange(30) % 3 + 7)
    return features, str(tmp_path / 'features.npy'), str(tmp_path / 'labels.npy')


def test_features_from_elsewhere_are_scored(files, tmp_path):
    features, path, labels = files
    done = command(
        'score',
        f'--features={path}',
        f'--labels={labels}',
        f'--out={tmp_path}/out',
        '--pos_high=0.3',
    )
    assert done.returncode == 0, done.stderr
    expected = graph.sample_difficulty(features, pos_high=0.3, pos_low=0.5)
    found = np.load(tmp_path / 'out' / 'scores.npz')
    np.testing.assert_allclose(found['score'], expected.score, atol=1e-6)
    by_class = json.loads((tmp_path / 'out' / 'scores.json').read_text())['by_class']
    assert by_class.keys() == {'7', '8', '9'}
    np.testing.assert_array_equal(found['label'], np.load(labels))
    assert not (tmp_path / 'out' / 'scores_gallery.png').exists()
    assert (tmp_path / 'out' / 'scores_histogram.png').exists()


@pytest.mark.parametrize(
    ('array', 'words'),
    [
        (np.ones(3), r'float64 \[3\]; need floats \[n, k\]'),
        (np.ones((3, 2), int), r'int64 \[3, 2\]; need floats'),
        (np.ones((4, 2)), 'need 4 integers'),
    ],
)
def test_files_that_do_not_fit_are_refused(files, tmp_path, array, words):
    np.save(tmp_path / 'other.npy', array)
    with pytest.raises(UserError, match=words):
        from_files(str(tmp_path / 'other.npy'), files[2])


@pytest.mark.parametrize(
    ('rows', 'words'),
    [
        (np.array([[1.0, 2], [np.nan, 1], [3, 1]]), 'row 1 holds NaN'),
        (np.array([[1.0, 2], [0, 0], [3, 1]]), 'row 1 holds only zeros'),
        (np.zeros((0, 3)), r'shape \(0, 3\)'),
    ],
)
def test_features_without_a_direction_are_refused(tmp_path, rows, words):
    np.save(tmp_path / 'features.npy', rows)
    with pytest.raises(UserError, match=words):
        score.run(from_files(str(tmp_path / 'features.npy'), None), Options(), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('rows', [np.ones((1, 3)), np.ones((6, 3)), np.eye(3)[[0, 0, 1]]])
def test_no_score_file_holds_nan(tmp_path, rows):
    np.save(tmp_path / 'features.npy', rows)
    samples, options = from_files(str(tmp_path / 'features.npy'), None), Options()
    score.run(samples, options, tmp_path / 'out')
    with np.load(tmp_path / 'out' / 'scores.npz') as found:
        for name in found.files[2:]:
            assert np.isfinite(found[name]).all()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], '--workdir, --features: give one of them'),
        (['--features=nowhere.npy', '--out=x', '--all'], '--all: goes with --workdir'),
        (['--workdir=x', '--landmarks=9', '--dynamics'], '--dynamics: goes with --workdir'),
        (['--workdir=x', '--columns=score', '--all'], '--all: goes without --landmarks'),
        (['--features=nowhere.npy'], '--out: missing'),
        (['--features=nowhere.npy', '--out=x'], '--features=nowhere.npy: cannot be read'),
    ],
)
def test_the_command_says_what_it_needs(arguments, words):
    done = command('score', *arguments)
    assert done.returncode == 1
    assert words in done.stderr


def test_the_command_names_what_is_missing(tmp_path):
    done = command('score', f'--workdir={tmp_path}')
    assert done.returncode == 1
    assert 'holds no config.json; give the folder of a run' in done.stderr


@pytest.mark.ci
@pytest.mark.parametrize('name', ['features', 'labels'])
def test_a_scoring_does_not_replace_what_it_reads(files, tmp_path, name):
    given = dict(zip(('features', 'labels'), files[1:], strict=True))
    np.savez(tmp_path / 'scores.npz', x=np.load(given[name]))
    before = (tmp_path / 'scores.npz').read_bytes()
    given[name] = tmp_path / 'scores.npz'
    flags = [f'--{flag}={path}' for flag, path in given.items()]
    done = command('score', *flags, f'--out={tmp_path}', '--overwrite')
    assert done.returncode == 1
    assert f'--{name}=' in done.stderr
    assert 'would be replaced' in done.stderr
    assert (tmp_path / 'scores.npz').read_bytes() == before


@pytest.mark.ci
def test_landmarks_and_shards_are_scored_by_the_command(files, tmp_path):
    features, _, labels = files
    (tmp_path / 'shards').mkdir()
    for name, rows in (('a', features[:11]), ('b', features[11:])):
        np.save(tmp_path / 'shards' / f'{name}.npy', rows)
    given = (f'--features={tmp_path}/shards', f'--labels={labels}', f'--out={tmp_path}/out')
    done = command('score', *given, '--embedding_atlas')
    assert '--embedding_atlas: needs all features in memory' in done.stderr
    # Of an earlier scoring in memory.
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'scores_histogram.png').touch()
    columns = '--columns=score,partner,supervised_margin'
    done = command('score', *given, '--landmarks=29', columns, '--overwrite')
    assert done.returncode == 0, done.stderr
    assert 'scored in tiles: without sas, verdicts and pictures' in done.stderr
    assert 'floating-point operations' in done.stderr
    assert 'note: the top band, pos_high=0.1, holds 3 of 29 landmarks' in done.stderr
    assert 'estimated standard error 0.0000' in done.stdout
    found = np.load(tmp_path / 'out' / 'scores.npz')
    expected = graph.sample_difficulty(features, pos_high=0.1, pos_low=0.5)
    np.testing.assert_allclose(found['score'], expected.score, atol=1e-5)
    for name in ('error', 'score_low', 'alpha_high', 'partner', 'supervised_margin', 'label'):
        assert found[name].shape == (30,)
    np.testing.assert_array_equal(found['label'], np.load(labels))
    summary = json.loads((tmp_path / 'out' / 'scores.json').read_text())
    assert summary['landmarks'] == 29
    # There are no images, whose checksum the other files would hold.
    assert summary['checksum'] is None
    assert len(summary['features_checksum']) == 64
    assert summary['guaranteed']['probability'] == 0.95
    # Nothing is left of the tiles.
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'scores.parquet', 'scores.npz', 'scores.csv', 'scores.json'}


def test_partners_are_named_as_the_samples_are(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    images = rng.integers(0, 255, (30, 6, 6, 1), dtype=np.uint8)
    # Of 100 images a run was trained on these.
    index = np.sort(rng.permutation(100)[:30])
    drawn = Samples(features, None, (), images, 'thirty', index=index)
    request = Request(columns=('score', 'partner'))
    score.run_rows(rows_of_samples(drawn), request, tmp_path, overwrite=False)
    found = np.load(tmp_path / 'scores.npz')
    np.testing.assert_array_equal(found['index'], index)
    partner = find_neighbours(features, pos_high=0.1, pos_low=0.5, count=1).partners
    np.testing.assert_array_equal(found['partner'], index[partner[:, 0]])


@pytest.mark.parametrize('count', [1, 30])
def test_what_fails_before_the_end_leaves_the_earlier_scores(tmp_path, monkeypatch, count):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('contrastive_jax.reporting.embedding_atlas.view_columns', fails)
    (tmp_path / 'scores.npz').write_text('earlier')
    features = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    drawn = Samples(features, None, (), None, 'rows')
    with pytest.raises(UserError if count == 1 else KeyboardInterrupt):
        score.run(drawn, Options(), tmp_path, overwrite=True, embedding_atlas=True)
    assert [path.name for path in tmp_path.iterdir()] == ['scores.npz']


@pytest.mark.ci
def test_the_viewer_embedding_atlas_finds_its_columns(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2
    images = rng.integers(0, 255, (30, 6, 40, 1), dtype=np.uint8)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    samples = Samples(features, labels, ('a', 'b'), images, 'thirty')
    score.run(samples, Options(), tmp_path, embedding_atlas=True)
    rows = pq.read_table(tmp_path / 'scores.parquet').to_pylist()
    assert {row['class'] for row in rows} == {'a', 'b'}
    assert all(row['verdict_name'] == VERDICTS[row['verdict']] for row in rows)
    first = rows[0]
    near = first['neighbors']
    assert len(near['ids']) == len(near['distances']) == 15
    assert 0 not in near['ids']
    assert near['distances'][0] == pytest.approx(1 - first['nearest_cosine'], abs=1e-6)
    assert near['distances'] == sorted(near['distances'])
    assert np.ptp([row['projection_x'] for row in rows]) > 0
    assert Image.open(io.BytesIO(first['image']['bytes'])).size == (32, 5)
    # Our own readers do without them.
    file = read_scores(
        str(tmp_path / 'scores.parquet'), n=30, checksum=samples.image_checksum(), where='scores'
    )
    np.testing.assert_array_equal(file.columns['score'], [row['score'] for row in rows])
    assert 'neighbors' not in file.columns
