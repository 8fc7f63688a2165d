import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from contrastive_jax import graph, main, score
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.runs import load_run
from tests.helpers import small_config, write_npz

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('score')
    config = small_config(
        data__name='npz', data__data_dir=str(write_npz(folder / 'data.npz')), mixed__ratio=0.2
    )
    main.run(config, folder / 'run')
    return folder / 'run'


@pytest.fixture(scope='module')
def out(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp('scores')
    score.run(workdir, score.Options(folder, pos_high=0.2, pos_low=0.6))
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
    np.testing.assert_array_equal(found['sas'], graph.scores.sas(features, latent))
    assert len(np.unique(latent)) <= 5
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
        score.run(workdir, score.Options(out))
    assert (out / 'scores.npz').read_bytes() == before


def test_bands_out_of_order_are_refused(workdir, tmp_path):
    with pytest.raises(UserError, match='pos_high'):
        score.run(workdir, score.Options(tmp_path / 'out', pos_high=0.9))
    assert not (tmp_path / 'out').exists()


def test_without_labels_there_are_scores_all_the_same(tmp_path):
    data = write_npz(tmp_path / 'data.npz', labels=False)
    config = small_config(data__name='npz', data__data_dir=str(data))
    main.run(config, tmp_path / 'run')
    summary = score.run(tmp_path / 'run', score.Options())
    assert summary['by_class'] is None
    written = {path.name for path in (tmp_path / 'run').glob('scores*')}
    assert 'scores_gallery.png' in written
    assert 'scores_classes.png' not in written
    assert 'label' not in np.load(tmp_path / 'run' / 'scores.npz').files
    with pytest.raises(UserError, match='have none; choose k-means'):
        score.run(tmp_path / 'run', score.Options(tmp_path / 'other', latent_classes='labels'))


def test_the_command_names_what_is_missing(tmp_path):
    command = [sys.executable, '-m', 'contrastive_jax.score', f'--workdir={tmp_path}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'holds no config.json; give the folder of a run' in done.stderr
