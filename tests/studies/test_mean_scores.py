import numpy as np
import pytest

from contrastive_jax.data.score_files import ScoreFile, read_scores, write_scores
from contrastive_jax.data.score_table import read_table
from contrastive_jax.data.stored import checksum
from studies import mean_scores, outputs
from studies.mean_scores import agreement, main, pixel_key, pixel_keys
from tests.helpers import write_config, write_npz


def _files(folder, seeds=3, n=40):
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=n)
    paths = []
    for seed in range(seeds):
        columns = {
            'score': (difficulty + rng.normal(0, 0.3, n)).astype(np.float32),
            'boundary': rng.uniform(size=n),
        }
        paths.append(folder / f'{seed}.npz')
        write_scores(paths[-1], ScoreFile(columns, 'those images'))
    return [path.with_suffix('.parquet') for path in paths]


def test_the_file_holds_means_and_what_a_removal_keeps(tmp_path, monkeypatch, capsys):
    paths = [str(path) for path in _files(tmp_path)]
    out = tmp_path / 'mean.parquet'
    monkeypatch.setattr('sys.argv', ['', '--scores', *paths, f'--out={out}', '--ratio=0.25'])
    main()
    assert '40 images, 30 kept' in capsys.readouterr().out
    # A run takes it as it takes the files of `score`.
    found = read_scores(str(out), n=40, checksum='those images', where='scores')
    each = np.stack([read_table(path)['score'] for path in paths])
    np.testing.assert_allclose(found.columns['score'], each.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.columns['score_2'], each[2], atol=6e-5)
    left_out = found.columns['kept'] == 0
    assert left_out.sum() == 10
    score = found.columns['score']
    assert score[left_out].min() > score[~left_out].max()
    with pytest.raises(SystemExit, match='exists'):
        main()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['0.parquet'], 'two seeds'),
        (['0.parquet', '1.parquet', '--ratio=1'], 'above 0 and below 1'),
        (['0.parquet', '1.parquet', '--ratio=0.02'], 'leaves out none of 40 images'),
        (['0.parquet', 'others.parquet'], 'others.parquet: scores other images'),
        (['0.parquet', 'short.parquet'], 'short.parquet: has no boundary'),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, arguments, words
):
    _files(tmp_path)
    score = np.zeros(40, np.float32)
    for name, columns in {
        'others': {'score': score, 'boundary': score},
        'short': {'score': score},
    }.items():
        write_scores(tmp_path / f'{name}.npz', ScoreFile(columns, name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['', '--out=mean.parquet', '--scores', *arguments])
    with pytest.raises(SystemExit, match=words):
        main()
    assert not (tmp_path / 'mean.parquet').exists()


def test_equal_scores_agree_and_opposite_ones_do_not():
    values = np.arange(10.0)
    found = agreement([{'score': values}, {'score': 2 * values}, {'score': -values}], 'score', 0.2)
    np.testing.assert_allclose(found['spearman'], [1, -1, -1])
    np.testing.assert_allclose(found['both leave out'], [1, 0, 0])


def test_a_key_depends_on_the_pixels_alone():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert pixel_key(image) == pixel_key(np.asfortranarray(image)) == 553991917361347917
    assert pixel_key(image) != pixel_key(image[::-1])


def test_images_have_their_keys(tmp_path):
    data = write_npz(tmp_path / 'data.npz', train=6)
    images = np.load(data)['train_images']
    config = write_config(tmp_path / 'config.py', data__name='npz', data__data_dir='elsewhere')
    scored = {'index': np.array([4, 1]), 'checksum': np.array(checksum(images))}
    found = pixel_keys(str(config), str(data), scored)
    assert found.tolist() == [pixel_key(images[4]), pixel_key(images[1])]
    with pytest.raises(SystemExit, match='not those that were scored'):
        pixel_keys(str(config), str(data), scored | {'checksum': np.array('others')})


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--scores', 'nope.parquet', 'x.parquet'], 'nope.parquet'),
        (['--scores', 'scores.npz', 'x.parquet'], 'give the scores.parquet beside it'),
    ],
)
def test_a_study_ends_with_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr('sys.argv', ['mean_scores', *arguments, f'--out={tmp_path}/m.parquet'])
    with pytest.raises(SystemExit, match=words) as ended:
        outputs.command(mean_scores.main)
    assert '\n' not in str(ended.value)
