import numpy as np
import pytest

from contrastive_jax import bounds, main, theory
from contrastive_jax.data.constructions import construct
from contrastive_jax.data.feature_files import Features
from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import similarities
from contrastive_jax.evaluation.similarities import measure_files, measure_run
from contrastive_jax.runs.loading import TrainedRun, load_run
from tests.helpers import npz_changes, small_config
from tests.processes import command

MODEL = theory.SimilarityModel(4, 20, 4, 0.6, 0.1, 0.35)


def test_the_report_holds_every_bound_and_condition():
    text = bounds.report(MODEL, 0.1, 4)
    for values in theory.bounds(MODEL, 0.1, 4):
        for value in values:
            assert f'{value:.4f}' in text
    assert 'removal helps: yes' in text
    assert 'temperature scaling helps: no' in text
    assert f'{theory.optimal_margin(MODEL):.6g}' in text


def test_without_difficult_samples_nothing_helps():
    text = bounds.report(theory.SimilarityModel(4, 20, 0, 0.6, 0.1, 0.35), 0.1, 4)
    assert 'removal and temperature scaling help: no, because no sample is difficult' in text
    assert 'must be' not in text


def test_bounds_that_say_nothing_are_marked():
    marked = bounds.report(MODEL, 0.1, 4)
    rows = [line for line in marked.splitlines() if 'Thm' in line or 'Cor' in line][:5]
    for row, values in zip(rows, theory.bounds(MODEL, 0.1, 4), strict=True):
        for value in values:
            assert (f'{value:.4f}*' in row) == (value >= 1)
    assert '* 1 or more: says nothing about an error rate' in marked
    assert '*' not in bounds.report(MODEL, 0.01, 4)
    # A bound of infinity is one of these.
    assert 'inf*' in bounds.report(theory.SimilarityModel(4, 20, 20, 0.6, 0.1, 0.35), 0.01, 4)


@pytest.fixture
def sorted_files(tmp_path):
    """Features of six classes, one after the other: easy pairs have cosines above 0."""
    labels = np.repeat([3, 50, 51, 700, 701, 9000], 50)
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(6), 50, axis=0)
    np.save(tmp_path / 'x.npy', 2 + 2 * centres + 0.3 * rng.normal(size=(300, 6)))
    np.save(tmp_path / 'y.npy', labels)
    return str(tmp_path / 'x.npy'), str(tmp_path / 'y.npy'), labels


def test_a_part_of_the_rows_stands_for_all_classes(sorted_files):
    rows, labels, classes = sorted_files
    model, text = bounds.fitted(measure_files(rows, labels, 60))
    assert (model.num_classes, model.samples_per_class) == (6, 10)
    assert text.startswith(f'60 rows of {rows}, a sample of 300\n')
    assert 'classes: 6, by label' in text
    whole, text = bounds.fitted(measure_files(rows, labels, 300))
    assert text.startswith(f'300 rows of {rows}\n')
    for name in ('alpha', 'beta', 'gamma'):
        # Of the first 60 rows, which are of two classes, gamma is 0.02 and beta 0.04 higher.
        assert getattr(model, name) == pytest.approx(getattr(whole, name), abs=0.01)
    np.save(labels, np.where(classes > 700, 700, classes))
    model, text = bounds.fitted(measure_files(rows, labels, 60))
    assert (model.num_classes, model.samples_per_class) == (4, 15)


@pytest.mark.parametrize('band', [(0.0, 0.5), (0.3, 0.3)])
def test_with_labels_a_band_without_pairs_is_no_matter(sorted_files, band):
    rows, labels = np.load(sorted_files[0]), np.repeat(np.arange(6, dtype=np.int32), 50)
    some = Features(rows, labels, tuple('abcdef'))
    measured = similarities._measure(some, 'rows', *band)
    assert list(measured.estimates) == ['with labels']
    with pytest.raises(UserError, match='rows: no pair counts as'):
        similarities._measure(some._replace(labels=None), 'rows', *band)


def test_without_labels_the_band_says_how_many_classes(sorted_files):
    model, text = bounds.fitted(measure_files(sorted_files[0], None, 60))
    assert (model.num_classes, model.samples_per_class) == (10, 6)
    assert 'classes: 10, for pos_high=0.1' in text


def test_a_run_on_a_long_tail_is_measured_on_the_tail(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40).astype(np.int32)
    # Each class is bright in a row of its own.
    images = rng.integers(60, 120, (120, 4, 4, 1))
    images[np.arange(120), labels] += 100
    split = Split(images.astype(np.uint8), labels)
    config = small_config(long_tail__factor=4.0)
    built = construct(config, split)
    seen = []

    def encode(batch):
        seen.append(np.asarray(batch))
        return batch.reshape(len(batch), -1).astype(np.float32) + 1

    run = TrainedRun(config, Dataset(split, split, ('a', 'b', 'c'), split), built, encode, None, 3)
    monkeypatch.setattr('contrastive_jax.runs.loading.load_run', lambda workdir: run)
    model, text = bounds.fitted(measure_run(tmp_path, 2000))
    kept = len(built.kept)
    assert text.startswith(f'{kept} images trained on, encoder of step 3\n')
    # Behind them comes what fills the batch up to a multiple of the devices.
    np.testing.assert_array_equal(seen[0][:kept], built.split.images)
    assert (model.num_classes, model.samples_per_class) == (3, kept // 3)
    _, text = bounds.fitted(measure_run(tmp_path, 100, everything=True))
    trained = int(text.split(', ')[2].split(' ')[0])
    assert f'100 training images, a sample of 120, {trained} of them trained on, enc' in text
    assert kept - 20 <= trained <= kept


def test_a_run_is_measured_in_its_own_band(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype=np.uint8)
    split = Split(images, np.arange(40, dtype=np.int32) % 2)
    config = small_config(pairs__pos_high=0.4, pairs__pos_low=0.6)

    def encode(batch):
        return batch.reshape(len(batch), -1).astype(np.float32) + 1

    dataset = Dataset(split, split, ('a', 'b'), split)
    run = TrainedRun(config, dataset, construct(config, split), encode, None, 3)
    monkeypatch.setattr('contrastive_jax.runs.loading.load_run', lambda workdir: run)
    measured = measure_run(tmp_path, 40)
    exact = theory.estimate(encode(images), pos_high=0.4, pos_low=0.6)
    assert measured.estimates['without labels'] == exact
    assert measured.pos_high == 0.4


def test_the_command_prints_and_draws(tmp_path):
    numbers = {
        'num_classes': 4,
        'samples_per_class': 20,
        'difficult_per_class': 4,
        'alpha': 0.6,
        'beta': 0.1,
        'gamma': 0.35,
        'out': tmp_path / 'bounds.png',
    }
    flags = [f'--{name}={value}' for name, value in numbers.items()]
    done = command('bounds', *flags, check=True)
    assert bounds.report(MODEL, 0.1, 4) in done.stdout
    assert numbers['out'].read_bytes().startswith(b'\x89PNG')
    wrong = [flag.replace('gamma=0.35', 'gamma=0.7') for flag in flags]
    done = command('bounds', *wrong)
    assert done.returncode == 1
    assert 'gamma=0.7' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    numbers['out'].write_bytes(b'precious')
    for more, status in (([], 1), (['--overwrite'], 0)):
        done = command('bounds', *flags, *more)
        assert done.returncode == status, done.stderr
        assert ('with --overwrite' in done.stderr) == bool(status)
        assert (numbers['out'].read_bytes() == b'precious') == bool(status)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_a_trained_run_is_measured(tmp_path):
    config = small_config(**npz_changes(tmp_path), epochs=1)
    config.pairs.pos_high, config.pairs.pos_low = 0.4, 0.6
    workdir = tmp_path / 'run'
    with pytest.raises(UserError, match=r'holds no config\.json'):
        load_run(workdir)
    main.run(config, workdir)
    run = load_run(workdir)
    assert run.step == 2
    images = run.dataset.train.images
    features = np.asarray(run.encode(images))
    assert features.shape == (40, 64)
    by_labels = theory.estimate(features, run.dataset.train.labels, pos_high=0.4, pos_low=0.6)
    if by_labels.message:  # the theory covers no such features, and the command says so
        with pytest.raises(UserError, match='no model fits'):
            bounds.fitted(measure_run(workdir, 40))
    else:
        model, text = bounds.fitted(measure_run(workdir, 40))
        assert model == theory.fitted_model(by_labels, 2, 20)
        assert f'alpha {by_labels.alpha.value:.4f}' in text
