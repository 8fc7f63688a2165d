import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from contrastive_jax import graph, main, score
from contrastive_jax.data.constructions import construct
from contrastive_jax.data.score_files import read_scores
from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.data.stored import array_checksum
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.evaluation import samples as sample_module
from contrastive_jax.evaluation.row_scores import rows_of_samples
from contrastive_jax.evaluation.samples import Options, Samples, from_files, from_run
from contrastive_jax.evaluation.tiles.request import Request
from contrastive_jax.reporting import galleries as figures
from contrastive_jax.runs.dynamics import read_dynamics
from contrastive_jax.runs.loading import TrainedRun, load_run
from tests.helpers import npz_changes, small_config, write_npz
from tests.processes import command

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('score')
    config = small_config(
        **npz_changes(folder),
        mixed__ratio=0.2,
        monitor__every_epochs=1,
        monitor__images=10,
    )
    main.run(config, folder / 'run')
    return folder / 'run'


@pytest.fixture(scope='module')
def out(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp('scores')
    samples, _ = from_run(workdir)
    score.run(samples, Options(0.2, 0.6), folder)
    return folder


def test_the_scores_are_those_of_the_images_trained_on(workdir, out):
    run = load_run(workdir)
    assert np.any(run.construction.whole.images != run.dataset.train.images)
    features = extract_features(run.encode, run.construction.whole.images)
    expected = graph.sample_difficulty(features, pos_high=0.2, pos_low=0.6)
    found = np.load(out / 'scores.npz')
    np.testing.assert_array_equal(found['index'], np.arange(40))
    np.testing.assert_array_equal(found['label'], run.dataset.train.labels)
    for name, values in expected._asdict().items():
        np.testing.assert_array_equal(found[name], values)
    latent = found['latent_class']
    np.testing.assert_array_equal(found['sas'], graph.scores.sas_score(features, latent))
    assert len(np.unique(latent)) <= 5
    np.testing.assert_array_equal(found['isolation'], graph.isolation(features))
    both = graph.scores.boundary(found['score'], found['isolation'])
    np.testing.assert_array_equal(found['boundary'], both)
    assert not any(np.isnan(found[name]).any() for name in found.files if name != 'checksum')


def test_the_table_holds_the_same_numbers(out):
    found = np.load(out / 'scores.npz')
    with (out / 'scores.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    for name in found.files:
        if name != 'checksum':
            column = np.array([float(row[name]) for row in rows], found[name].dtype)
            np.testing.assert_array_equal(column, found[name])


def test_the_summary_counts_and_ranks(out):
    summary = json.loads((out / 'scores.json').read_text())
    found = np.load(out / 'scores.npz')
    assert summary['samples'] == 40
    assert (summary['pos_high'], summary['pos_low']) == (0.2, 0.6)
    assert summary['checksum'] == str(found['checksum'])
    assert summary['score']['median'] == pytest.approx(float(np.median(found['score'])))
    means = {c: found['score'][found['label'] == int(c)].mean() for c in ('0', '1')}
    assert summary['by_class'] == pytest.approx(means, rel=1e-5)


def test_all_files_of_a_run_have_the_checksum_of_its_images(workdir, out, tmp_path):
    samples, _ = from_run(workdir)
    request = Request(0.2, 0.6, columns=('score', 'isolation'))
    score.run_rows(rows_of_samples(samples), request, tmp_path, overwrite=False)
    with pytest.raises(UserError, match=r'scores\.npz.* already; replace them with --overwrite'):
        score.run_rows(rows_of_samples(samples), request, tmp_path)
    summary = json.loads((tmp_path / 'scores.json').read_text())
    expected = array_checksum(samples.images)
    assert summary['checksum'] == expected == str(np.load(out / 'scores.npz')['checksum'])
    assert summary['checksum'] == str(np.load(tmp_path / 'scores.npz')['checksum'])
    assert summary['features_checksum'] != expected


@pytest.mark.ci
def test_difficulty_over_time_is_added_where_the_monitor_looked(workdir, tmp_path):
    samples, options = from_run(workdir)
    more = sample_module.dynamics_columns(workdir, samples)
    score.run(samples, options, tmp_path, more=more)
    found, looked = np.load(tmp_path / 'scores.npz'), read_dynamics(workdir)
    assert looked.epochs.tolist() == [1, 2]
    mean = found['dynamics_mean']
    assert np.flatnonzero(~np.isnan(mean)).tolist() == looked.indices.tolist()
    np.testing.assert_allclose(mean[looked.indices], looked.score.mean(axis=0), rtol=1e-6)
    # The encoder of the last look is that of the run, but it saw fewer images.
    one = graph.sample_difficulty(samples.features[looked.indices], **options.band()).score
    np.testing.assert_allclose(looked.score[-1], one, atol=1e-4)
    # A removal by these scores does not trip over what is empty.
    read = read_scores(
        str(tmp_path / 'scores.npz'), n=40, checksum=samples.image_checksum(), where='scores'
    )
    assert 'dynamics_mean' not in read.columns
    assert 'boundary' in read.columns


@pytest.mark.parametrize('name', ['histogram', 'gallery', 'classes'])
def test_the_pictures_show_something(out, name):
    picture = imread(out / f'scores_{name}.png')
    assert min(picture.shape[:2]) > 150
    assert picture[..., :3].std() > 0.05


def test_scores_serve_to_remove_samples(workdir, out, tmp_path):
    config = load_run(workdir).config
    config.removal.update(method='difficulty', ratio=0.25, scores=str(out / 'scores.npz'))
    result = main.run(config, tmp_path / 'run')
    assert result['removed'] == sum(result['removed_by_class'].values()) == 10
    assert result['mixed'] == 8
    hardest = np.argsort(-np.load(out / 'scores.npz')['score'], kind='stable')[:10]
    with np.load(tmp_path / 'run' / 'training_set.npz') as kept:
        assert len(kept['kept']) == 30
        scores = np.load(out / 'scores.npz')['score']
        assert scores[kept['kept']].max() <= scores[hardest].min()
        assert len(kept['mixed']) == len(kept['partners']) == 8


def test_earlier_scores_are_not_overwritten(workdir, out):
    before = (out / 'scores.npz').read_bytes()
    with pytest.raises(UserError, match=r'holds scores\.npz.*give another --out'):
        score.run(*from_run(workdir), out)
    assert (out / 'scores.npz').read_bytes() == before


def test_earlier_scores_are_replaced_on_demand(out, tmp_path):
    copy = tmp_path / 'out'
    shutil.copytree(out, copy)
    np.save(tmp_path / 'x.npy', np.random.default_rng(0).normal(size=(12, 3)))
    score.run(from_files(str(tmp_path / 'x.npy'), None), Options(), copy, overwrite=True)
    assert len(np.load(copy / 'scores.npz')['score']) == 12
    # There are no images now, and none of the earlier ones stay beside the new scores.
    assert not (copy / 'scores_gallery.png').exists()
    assert not (copy / 'scores_classes.png').exists()


@pytest.fixture
def tail(monkeypatch):
    """A run of files on a long tail, which nobody trained: its features are its pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
    files = tuple(f'train/cats, dogs/a${place}$\n{place}.png' for place in range(60))
    split = Split(images, np.repeat(np.arange(3), 20).astype(np.int32), files)
    config = small_config(long_tail__factor=5.0)
    built = construct(config, split)
    dataset = Dataset(split, split, ('cat', 'dog$', 'caf\udce9'), split)
    run = TrainedRun(
        config, dataset, built, lambda x: x.reshape(len(x), -1).astype(np.float32) + 1, None, 7
    )
    monkeypatch.setattr('contrastive_jax.runs.loading.load_run', lambda workdir: run)
    return run


def test_the_scores_are_those_of_the_images_that_a_long_tail_left(tail, tmp_path, capsys):
    kept = tail.construction.kept
    assert 20 < len(kept) < 60
    summary = score.run(*from_run(tmp_path), tmp_path / 'out')
    assert summary['samples'] == len(kept)
    assert 'trained' not in summary
    assert f'{len(kept)} training images (the run left out {60 - len(kept)} more; --all' in (
        capsys.readouterr().out
    )
    found = np.load(tmp_path / 'out' / 'scores.npz')
    np.testing.assert_array_equal(found['index'], kept)
    np.testing.assert_array_equal(found['label'], tail.construction.split.labels)
    assert found['file'].tolist() == [tail.dataset.train.files[place] for place in kept]
    assert 'trained' not in found.files
    # Of these images alone, and in the graph of these alone.
    rows = tail.construction.split.images.reshape(len(kept), -1).astype(np.float32) + 1
    expected = graph.sample_difficulty(rows, pos_high=0.1, pos_low=0.5)
    np.testing.assert_array_equal(found['score'], expected.score)
    np.testing.assert_array_equal(found['sas'], graph.scores.sas_score(rows, found['latent_class']))
    assert str(found['checksum']) == array_checksum(tail.dataset.train.images)


@pytest.mark.ci
def test_removal_from_a_long_tail_goes_by_the_scores_of_its_run(tail, tmp_path):
    score.run(*from_run(tmp_path), tmp_path / 'out')
    path = str(tmp_path / 'out' / 'scores.npz')
    kept, scores = tail.construction.kept, np.load(path)['score']
    for method in ('difficulty', 'boundary', 'sas'):
        options = {'removal__method': method, 'removal__ratio': 0.2, 'removal__scores': path}
        config = small_config(long_tail__factor=5.0, **options)
        left = construct(config, tail.dataset.train).kept
        assert set(left) < set(kept)
        if method == 'difficulty':
            hardest = kept[np.argsort(-scores, kind='stable')[: len(kept) // 5]]
            np.testing.assert_array_equal(left, np.setdiff1d(kept, hardest))
    with pytest.raises(UserError, match=r'has no score for .*--all'):
        construct(small_config(**options), tail.dataset.train)


@pytest.mark.ci
def test_all_images_are_scored_on_demand_and_those_trained_on_are_marked(tail, tmp_path, capsys):
    kept = tail.construction.kept
    summary = score.run(*from_run(tmp_path, everything=True), tmp_path / 'out')
    assert (summary['samples'], summary['trained']) == (60, len(kept))
    assert f'60 training images ({len(kept)} of them trained on)' in capsys.readouterr().out
    found = np.load(tmp_path / 'out' / 'scores.npz')
    assert found['trained'].dtype == bool
    np.testing.assert_array_equal(found['index'][found['trained']], kept)
    # What the run left out changes no score of what it trained on, and so no removal.
    score.run(*from_run(tmp_path), tmp_path / 'own')
    own = np.load(tmp_path / 'own' / 'scores.npz')
    assert set(found.files) == {*own.files, 'trained'}
    for name in set(own.files) - {'checksum'}:
        np.testing.assert_array_equal(found[name][found['trained']], own[name])
    left_out = found['latent_class'][~found['trained']]
    assert not np.isin(left_out, own['latent_class']).any()
    rows = tail.construction.whole.images.reshape(60, -1).astype(np.float32) + 1
    everyone = np.asarray(graph.sample_difficulty(rows, pos_high=0.1, pos_low=0.5).score)
    np.testing.assert_array_equal(found['score'][~found['trained']], everyone[~found['trained']])
    with (tmp_path / 'out' / 'scores.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['trained'] == 'True' for row in rows] == found['trained'].tolist()
    # They serve a run that trains on more than the long tail did.
    options = {'removal__ratio': 0.2, 'removal__scores': str(tmp_path / 'out' / 'scores.npz')}
    assert len(construct(small_config(**options), tail.dataset.train).kept) == 48


@pytest.mark.ci
def test_files_are_named_in_print_and_in_pictures(tail, tmp_path, capsys, monkeypatch):
    captions = []
    for name in ('gallery', 'class_gallery'):
        draw = getattr(figures, name)

        def keep(*arguments, draw=draw):
            captions.append(arguments[-1])
            return draw(*arguments)

        monkeypatch.setattr(figures, name, keep)
    score.run(*from_run(tmp_path), tmp_path / 'out')
    found = np.load(tmp_path / 'out' / 'scores.npz')
    hardest = np.argsort(-found['score'], kind='stable')[:10]
    names = [found['file'][row].replace('\n', '\\n') for row in hardest]
    printed = capsys.readouterr().out
    assert 'hardest:\n  ' + '\n  '.join(names) in printed
    assert 'caf\\udce9' in printed
    assert len(captions) == 2
    assert set(names) <= set(captions[0])


@pytest.mark.ci
def test_images_that_are_no_files_are_named_by_their_index(tail, tmp_path, capsys):
    samples, options = from_run(tmp_path)
    score.run(samples._replace(files=None), options, tmp_path / 'out')
    found = np.load(tmp_path / 'out' / 'scores.npz')
    hardest = found['index'][np.argsort(-found['score'], kind='stable')[:10]]
    assert f'hardest: {" ".join(map(str, hardest))}\n' in capsys.readouterr().out
    assert 'file' not in found.files


def test_bands_out_of_order_are_refused(workdir, tmp_path):
    samples, options = from_run(workdir)
    with pytest.raises(UserError, match='pos_high'):
        score.run(samples, options._replace(pos_high=0.9), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.ci
def test_without_labels_there_are_scores_all_the_same(tmp_path):
    data = write_npz(tmp_path / 'data.npz', labels=False)
    config = small_config(data__name='npz', data__data_dir=str(data))
    main.run(config, tmp_path / 'run')
    samples, options = from_run(tmp_path / 'run')
    summary = score.run(samples, options, tmp_path / 'run')
    assert summary['by_class'] is None
    written = {path.name for path in (tmp_path / 'run').glob('scores*')}
    assert 'scores_gallery.png' in written
    assert 'scores_classes.png' not in written
    assert 'label' not in np.load(tmp_path / 'run' / 'scores.npz').files
    with pytest.raises(UserError, match='are no labels; choose k-means'):
        score.run(samples, options._replace(latent_classes='labels'), tmp_path / 'other')


@pytest.mark.ci
def test_result_says_what_kind_of_scores_removal_went_by(workdir, tmp_path):
    done = command('score', f'--workdir={workdir}', f'--out={tmp_path}/out', '--landmarks=30')
    assert done.returncode == 0, done.stderr
    config = load_run(workdir).config
    scores = str(tmp_path / 'out' / 'scores.parquet')
    config.removal.update(method='difficulty', ratio=0.25, scores=scores)
    result = main.run(config, tmp_path / 'run')
    assert result['removed'] == 10
    assert result['removal_scores'] == 'landmarks=30'


def test_labels_that_neighbours_contradict_are_counted_once(capsys):
    rng = np.random.default_rng(0)
    samples = Samples(rng.normal(size=(200, 8)), np.arange(200) % 4, (), None, 'rows')
    columns = sample_module.score(samples, Options())
    text = capsys.readouterr().err
    assert text.count('samples another class leads among the neighbours') == 1
    assert f'for {np.sum(columns["label_margin"] > 0)} of 200 samples' in text
    assert {'label_margin', 'label_z'} <= columns.keys()


def test_one_wrong_label_says_nothing_of_the_features(capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    rows = 5 * np.eye(8)[labels] + 0.1 * rng.normal(size=(200, 8))
    labels[0] = 1
    sample_module.score(Samples(rows, labels, (), None, 'rows'), Options())
    assert 'another class leads' not in capsys.readouterr().err


def test_images_one_pixel_high_are_drawn():
    for channels in (1, 3):
        row = np.zeros((2, 1, 16, channels))
        assert figures._pixels(row[0]).shape == ((1, 16) if channels == 1 else (1, 16, 3))
        figures.view_gallery(np.zeros((2, 1, 16, channels), np.uint8), [row, row])
