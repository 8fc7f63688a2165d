import json
import sys

import numpy as np
import pytest
from PIL import Image

from contrastive_jax import main as training
from contrastive_jax import score
from contrastive_jax.data.score_files import ScoreFile, write_scores
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import Options, from_files, from_run
from contrastive_jax.graph.neighbours import find_neighbours
from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.reporting.atlas import build
from contrastive_jax.reporting.atlas.build import SampleFiles
from contrastive_jax.reporting.atlas.content import Content, chosen_rows, project
from contrastive_jax.reporting.atlas.page import atlas_page
from contrastive_jax.runs.dynamics import read_dynamics
from tests.helpers import npz_changes, small_config

pytestmark = pytest.mark.filterwarnings('ignore')
N = 30


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / 'features.npy', rng.normal(size=(N, 5)))
    np.save(tmp_path / 'labels.npy', np.arange(N) % 3)
    np.savez(tmp_path / 'images.npz', x=rng.integers(0, 255, (N, 6, 6, 3), dtype=np.uint8))
    return tmp_path


def _of(folder, **changes):
    given = {'labels': None, 'images': None, 'scores': None}
    given |= {name: str(folder / file) for name, file in changes.items()}
    return build.of_files(SampleFiles(str(folder / 'features.npy'), **given), 'pca', 100)


def test_features_alone_are_enough(files):
    content = _of(files)
    assert content.labels is content.images is content.files is None
    assert len(content.notes) == 2
    assert content.place.shape == (N, 2)
    np.testing.assert_array_equal(content.index, np.arange(N))
    assert content.nearest.shape == (N, 8)


def test_labels_and_images_are_joined(files):
    content = _of(files, labels='labels.npy', images='images.npz')
    assert content.labels[:4] == ('0', '1', '2', '0')
    assert content.images.shape == (N, 6, 6, 3)
    assert content.notes == ()


def test_a_folder_of_images_is_in_the_order_of_its_names(files):
    folder = files / 'pictures'
    folder.mkdir()
    for row in range(N):
        Image.new('RGB', (3 + row, 5), (row, 0, 0)).save(folder / f'{row:02d}.png')
    (folder / '07.png').write_bytes(b'no image')
    content = _of(files, images='pictures')
    assert content.files[:2] == ('00.png', '01.png')
    assert content.images[9][16, 16].tolist() == [9, 0, 0]
    assert not content.images[7].any()
    assert content.notes[0].startswith('1 of 30 images cannot be read')
    assert '07.png' in content.notes[0]
    (folder / '00.png').unlink()
    with pytest.raises(UserError, match='holds 29 images, and there are 30 rows'):
        _of(files, images='pictures')


def test_images_of_a_folder_are_those_that_training_sees(files):
    folder = files / 'pictures'
    folder.mkdir()
    for row in range(N):
        Image.new('RGB', (5, 5), (row, 0, 0)).save(folder / f'{row:02d}.png')
    Image.fromarray(np.full((5, 5), 2**15, np.uint16)).save(folder / '03.png')
    turned = Image.new('RGB', (8, 8))
    turned.paste((255, 0, 0), (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x112] = 6  # A quarter to the right.
    turned.save(folder / '04.png', exif=exif)
    (folder / '05.png').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n')
    content = _of(files, images='pictures')
    assert abs(int(content.images[3][16, 16, 0]) - 128) <= 1
    assert content.images[4][4, 16, 0] > 200 > 50 > content.images[4][28, 16, 0]
    assert '05.png' in content.notes[0]


def test_scores_of_some_samples_choose_them(files):
    rows = np.array([4, 2, 9])
    columns = {'score': np.array([0.1, 0.2, 0.3])}
    write_scores(files / 'scores.npz', ScoreFile(columns, None, rows))
    content = _of(files, scores='scores.npz', labels='labels.npy', images='images.npz')
    assert content.index.tolist() == [4, 2, 9]
    assert content.numbers['score'].tolist() == [0.1, 0.2, 0.3]
    assert content.labels == ('1', '2', '0')
    images = np.load(files / 'images.npz')['x']
    np.testing.assert_array_equal(content.images, images[rows])


def test_verdicts_are_those_of_the_scores(files):
    rng = np.random.default_rng(0)
    names = ('score', 'alpha', 'beta', 'gamma', 'isolation', 'duplicate_z')
    columns = {name: rng.random(N) for name in names}
    columns |= {'verdict': np.arange(N) % 5, 'latent_class': np.arange(N)}
    write_scores(files / 'scores.npz', ScoreFile(columns, None))
    for kind in ('npz', 'parquet'):
        content = _of(files, scores=f'scores.{kind}')
        assert content.verdict == tuple(VERDICTS[row % 5] for row in range(N))
        assert tuple(content.numbers) == names
    columns['verdict'][3] = 5
    write_scores(files / 'scores.npz', ScoreFile(columns, None))
    with pytest.raises(UserError, match='verdict holds 0 to 5, need 0 to 4'):
        _of(files, scores='scores.npz')


def test_columns_of_the_dynamics_are_offered(files):
    samples = from_files(str(files / 'features.npy'), None)
    mean = np.where(np.arange(N) % 2, np.nan, np.arange(N) / N)
    columns = {'score': np.arange(N) / N, 'dynamics_mean': mean}
    write_scores(files / 'scores.npz', ScoreFile(columns, samples.image_checksum()))
    for kind in ('npz', 'parquet'):
        content = _of(files, scores=f'scores.{kind}')
        np.testing.assert_array_equal(content.numbers['dynamics_mean'], mean)
    atlas_page(content)


def test_of_more_samples_than_fit_verdicts_are_those_among_all(files):
    given = SampleFiles(str(files / 'features.npy'), str(files / 'labels.npy'), None, None)
    whole, part = (build.of_files(given, 'pca', most) for most in (N, 10))
    assert part.notes[0].startswith('10 of 30 samples are here')
    assert part.verdict == tuple(whole.verdict[row] for row in part.index)


def test_scores_without_verdicts_are_judged_and_the_page_says_among_which(files):
    write_scores(files / 'scores.npz', ScoreFile({'score': np.arange(N) / N}, None))
    given = SampleFiles(str(files / 'features.npy'), None, None, str(files / 'scores.npz'))
    content = build.of_files(given, 'pca', 10)
    assert 'since the scores lack them: verdict' in content.notes[1]
    assert 'duplicate_z' in content.numbers


def test_the_page_says_that_features_have_collapsed(tmp_path):
    np.save(tmp_path / 'features.npy', np.full((50, 5), 0.3))
    assert _of(tmp_path).notes[0].startswith('The rows hardly differ')


def test_one_sample_is_enough(tmp_path):
    np.save(tmp_path / 'features.npy', np.ones((1, 5)))
    content = _of(tmp_path)
    assert content.verdict == ('easy',)
    assert not content.place.any()
    assert '; 1 sample, map by' in atlas_page(content)


def test_ten_thousand_classes_make_a_page(tmp_path):
    n = 10_000
    rng = np.random.default_rng(0)
    nobody = np.full((n, 1), -1)
    numbers = {name: rng.random(n) for name in ('score', 'alpha', 'beta', 'gamma')}
    labels = tuple(f'class {row}' for row in range(n))
    place = rng.normal(size=(n, 2))
    text = atlas_page(
        Content(
            'many', np.arange(n), place, 'PCA', numbers, ('easy',) * n, nobody, nobody,
            labels, None, None, None, (),
        )
    )  # fmt: skip
    assert text.count('class 9999') >= 2


def test_scores_of_other_samples_are_refused(files):
    columns = {'score': np.zeros(N)}
    write_scores(files / 'scores.npz', ScoreFile(columns, 'f' * 64))
    with pytest.raises(UserError, match='belongs to other images'):
        _of(files, scores='scores.npz')


def test_scores_of_more_rows_are_refused_in_words_of_rows(files):
    write_scores(files / 'scores.npz', ScoreFile({'score': np.zeros(300)}, None))
    with pytest.raises(UserError, match=r'index is \[300\], and there are 30 rows of features;'):
        _of(files, scores='scores.npz')


def test_scores_of_other_features_are_refused(files):
    samples, options = from_files(str(files / 'features.npy'), None), Options()
    score.run(samples, options, files)
    _of(files, scores='scores.npz')
    np.save(files / 'features.npy', np.load(files / 'features.npy') + 1)
    for kind in ('npz', 'parquet'):
        with pytest.raises(UserError, match=r'scores other features \(checksum'):
            _of(files, scores=f'scores.{kind}')


def test_partners_are_those_of_the_band_that_was_scored(files):
    samples, options = from_files(str(files / 'features.npy'), None), Options()
    band = {'pos_high': 0.3, 'pos_low': 0.4}
    score.run(samples, options._replace(**band), files)
    expected = find_neighbours(samples.features, **band, count=8).partners
    np.testing.assert_array_equal(_of(files, scores='scores.npz').partners, expected)
    other = find_neighbours(samples.features, **options.band(), count=8).partners
    assert not np.array_equal(other[:, 0], expected[:, 0])
    words = 'band of these scores is not known'
    assert words not in ' '.join(_of(files, scores='scores.npz').notes)
    # Under another name the summary beside it is that of another file.
    (files / 'scores.npz').rename(files / 'mine.npz')
    assert words in ' '.join(_of(files, scores='mine.npz').notes)


def test_images_trained_on_have_their_partners_among_themselves(files):
    samples, options = from_files(str(files / 'features.npy'), None), Options()
    trained = np.arange(N) % 2 == 0
    found = build._neighbours(samples._replace(trained=trained), options)
    everyone = build._neighbours(samples, options)
    rows = np.flatnonzero(trained)
    own = find_neighbours(samples.features[trained], **options.band(), count=8).partners
    shared = own.shape[1]
    np.testing.assert_array_equal(
        found.partners[trained][:, :shared], np.where(own < 0, -1, rows[own])
    )
    np.testing.assert_array_equal(found.partners[~trained], everyone.partners[~trained])
    np.testing.assert_array_equal(found.nearest, everyone.nearest)


@pytest.mark.parametrize('shape', [(N - 1, 6, 6, 3), (N, 6, 6), (N, 3, 6, 6), (N, 6, 6, 0)])
def test_images_that_do_not_fit_are_refused(shape, files):
    np.savez(files / 'images.npz', x=np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=r'holds no array \[30, h, w, c\] of uint8'):
        _of(files, images='images.npz')


def test_a_long_image_is_seen(tmp_path):
    Image.new('RGB', (100, 1), 'white').save(tmp_path / 'long.png')
    square = build._thumbnail(tmp_path / 'long.png')
    assert square.shape == (32, 32, 3)
    # One row in the middle.
    np.testing.assert_array_equal(square.max(axis=(1, 2)) > 0, np.arange(32) == 15)


def test_of_many_samples_the_page_has_the_ends_and_a_random_part():
    values = np.random.default_rng(0).permutation(1000) / 1000
    rows = chosen_rows(values, 100, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 100
    chosen = np.sort(values[rows])
    np.testing.assert_allclose(chosen[:20], np.arange(20) / 1000)
    np.testing.assert_allclose(chosen[-40:], np.arange(960, 1000) / 1000)
    assert chosen_rows(values, 1000, np.random.default_rng(0)).tolist() == list(range(1000))


def test_the_map_is_the_plane_of_most_variance():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 6)) * [0.1, 0.1, 5, 0.1, 3, 0.1] + [0, 30, 0, 0, 0, 0]
    place, name = project(rows, 'pca', 0)
    assert name == 'PCA'
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert place.var(axis=0).sum() > 0.99 * unit.var(axis=0).sum()
    assert project(np.ones((3, 1)), 'auto', 0)[0].shape == (3, 2)


def test_a_map_whose_library_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'umap', None)
    with pytest.raises(UserError, match='pip install umap-learn, or give --map=pca'):
        project(np.eye(20), 'umap', 0)


@pytest.mark.ci
def test_a_run_has_an_atlas_scored_or_not(tmp_path, capsys):
    config = small_config(**npz_changes(tmp_path), epochs=1)
    workdir = tmp_path / 'run'
    training.run(config, workdir)
    unscored = build.of_run(workdir, workdir, 'pca', 100)
    assert 'holds no scores; computes them' in capsys.readouterr().err
    assert not (workdir / 'scores.npz').exists()
    score.run(*from_run(workdir), workdir)
    content = build.of_run(workdir, workdir, 'pca', 100)
    np.testing.assert_array_equal(unscored.numbers['score'], content.numbers['score'])
    np.testing.assert_array_equal(unscored.verdict, content.verdict)
    assert len(content.labels) == len(content.images) == len(content.index)
    assert content.dynamics is None
    summary = json.loads((workdir / 'scores.json').read_text())
    (workdir / 'scores.json').write_text(json.dumps(summary | {'step': summary['step'] - 1}))
    with pytest.raises(UserError, match=r'scores of step 1, and the run is at step 2 now'):
        build.of_run(workdir, workdir, 'pca', 100)


@pytest.mark.ci
def test_a_monitored_run_shows_how_scores_moved(tmp_path):
    monitor = {'monitor__every_epochs': 1, 'monitor__images': 8}
    config = small_config(**npz_changes(tmp_path), epochs=2, **monitor)
    workdir = tmp_path / 'run'
    training.run(config, workdir)
    score.run(*from_run(workdir), workdir)
    dynamics = build.of_run(workdir, workdir, 'pca', 100).dynamics
    kept = read_dynamics(workdir)
    assert dynamics.scores.shape[1] == len(dynamics.epochs) == len(kept.epochs)
    np.testing.assert_array_equal(dynamics.scores[kept.indices], kept.score.T)
    assert np.isnan(dynamics.scores).any(axis=1).sum() == len(dynamics.scores) - len(kept.indices)
