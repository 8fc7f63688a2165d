import json
import re

import jax
import numpy as np
import pytest

from contrastive_jax import main, verify
from contrastive_jax.data.constructions import construct
from contrastive_jax.data.score_files import read_scores
from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.data.stored import array_checksum
from contrastive_jax.ebt.verifier import command, comparison
from contrastive_jax.ebt.verifier.encoding import Bank
from contrastive_jax.ebt.verifier.fitting import Fitted
from contrastive_jax.ebt.verifier.infer import Energies
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.errors import UserError
from contrastive_jax.runs.loading import TrainedRun, load_run
from tests.helpers import npz_changes, small_config

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('verify')
    main.run(small_config(**npz_changes(folder, test=24)), folder / 'run')
    return folder / 'run'


@pytest.fixture(scope='module')
def out(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp('out') / 'verify'
    verify.run(workdir, folder, steps=2, seed=0)
    return folder


@pytest.mark.slow
def test_everything_is_written(out):
    for name in command.FILES:
        assert (out / name).stat().st_size > 0
    tables = json.loads((out / 'verify.json').read_text())
    for split in ('train', 'test'):
        controls = {'cosine', 'cosine, mean of views', 'k-reciprocal', *command._CONTROLS}
        assert controls < set(tables[split]['class'])
        assert [row['steps'] for row in tables[split]['class_by_steps']] == [0, 1, 2, 4, 8]
        fractions = [row['fraction'] for row in tables[split]['by_fraction']]
        assert fractions == [0, 0.01, 0.05, 0.1, 0.25, 1]
    flops = [row['flops'] for row in tables['cost_of_a_pair'].values()]
    assert flops == sorted(flops)


@pytest.mark.slow
def test_energies_are_those_of_band_pairs(out):
    found = np.load(out / 'energies.npz')
    assert len(found['i']) == len(found['j']) == len(found['F'])
    assert np.all(found['i'] != found['j'])
    assert np.all(found['d_2'] >= 0)


@pytest.mark.slow
def test_the_scores_serve_to_remove_samples(workdir, out, tmp_path):
    config = load_run(workdir).config
    config.removal.update(method='file', ratio=0.25, scores=str(out / 'scores.npz'))
    assert main.run(config, tmp_path / 'run')['removed'] == 10
    with pytest.raises(UserError, match='other images'):
        read_scores(str(out / 'scores.npz'), n=40, checksum='x', where='config.removal.scores')


@pytest.mark.ci
def test_pairs_are_of_the_images_trained_on(tmp_path, monkeypatch):
    """A long tail and what comes before the verifier is trained; and the files that name images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
    files = tuple(f'{place}.png' for place in range(60))
    split = Split(images, np.repeat(np.arange(3), 20).astype(np.int32), files)
    config = small_config(long_tail__factor=5.0)
    built = construct(config, split)
    run = TrainedRun(
        config,
        Dataset(split, split, ('a', 'b', 'c'), split),
        built,
        lambda x: x.reshape(len(x), -1).astype(np.float32),
        (None, None, None),
        7,
    )

    def tokens(*weights):
        return jax.tree_util.Partial(lambda x: (x.reshape(len(x), -1), x.reshape(len(x), 4, 4)))

    monkeypatch.setattr(command, 'token_function', tokens)
    monkeypatch.setattr(command, 'load_run', lambda workdir: run)

    def fit(encoder, images, unit, pairs, augmentation, kinds, options):
        assert len(images) == len(unit)
        return {comparison.SYSTEM_2: Fitted(None, {'offset': np.zeros(())}, {}, 0)}

    def pair_energies(fitted, first, second, i, j, *, steps):
        return Energies(np.zeros(len(i)), np.zeros((3, len(i))), np.zeros((3, len(i))))

    monkeypatch.setattr(command, 'train_verifiers', fit)
    monkeypatch.setattr(command.infer, 'pair_energies', pair_energies)
    monkeypatch.setattr(command.infer, 'cost', lambda *arguments: {})
    for everything, index in ((False, built.kept), (True, np.arange(60))):
        out = tmp_path / str(everything)
        options = {'steps': 1, 'seed': 0, 'controls': False, 'everything': everything}
        summary = verify.run(tmp_path, out, **options)
        assert summary['images'] == len(index)
        assert (summary['all'], summary['controls']) == (everything, False)
        with np.load(out / 'scores.npz') as found:
            np.testing.assert_array_equal(found['index'], index)
            assert found['file'].tolist() == [files[place] for place in index]
            assert str(found['checksum']) == array_checksum(images)
            marks = found['trained'].tolist() if everything else None
        with np.load(out / 'energies.npz') as found:
            np.testing.assert_array_equal(np.unique(found['i']), index)
            assert np.isin(found['j'], index).all()
            assert found['j'].max() > len(built.kept)
        assert marks == (np.isin(index, built.kept).tolist() if everything else None)
    with pytest.raises(UserError, match='with --overwrite'):
        verify.run(tmp_path, out, **options)
    for name in ('scores.parquet', 'scores.json'):
        of_others = tmp_path / f'others {name}'
        of_others.mkdir()
        (of_others / name).write_text('precious')
        with pytest.raises(UserError, match=rf'holds {re.escape(name)}'):
            verify.run(tmp_path, of_others, **options)
        assert (of_others / name).read_text() == 'precious'
    (out / 'verify.png').write_text('of earlier energies')
    verify.run(tmp_path, out, **options, overwrite=True)
    assert not (out / 'verify.png').exists()


@pytest.mark.slow
def test_nothing_is_overwritten(workdir, out):
    before = (out / 'energies.npz').read_bytes()
    with pytest.raises(UserError, match=r'holds energies\.npz.*another --out'):
        verify.run(workdir, out, steps=2, seed=0)
    assert (out / 'energies.npz').read_bytes() == before


def test_a_denoiser_is_refused(tmp_path, monkeypatch):
    config = small_config(model__name='feedforward')
    denoiser = TrainedRun(config, None, None, None, None, 1)
    monkeypatch.setattr(command, 'load_run', lambda workdir: denoiser)
    with pytest.raises(UserError, match=r'holds a denoiser \(feedforward\)'):
        verify.run(tmp_path, tmp_path / 'out', steps=1, seed=0)


@pytest.mark.parametrize('controls', [True, False])
def test_a_test_split_without_pairs_is_refused_before_training(controls, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    split, test = (Split(rng.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8), None) for n in (40, 3))
    config = small_config()
    config.pairs.update(pos_high=0.1, pos_low=0.3)
    built = construct(config, split)
    dataset = Dataset(split, test, (), split)
    run = TrainedRun(config, dataset, built, lambda x: x, (None, None, None), 7)
    clean = Encoded(rng.standard_normal((40, 6)), np.zeros((40, 1, 1)))
    band = {'pos_high': 0.1, 'pos_low': 0.3}
    prepared = command.Prepared(run, split, np.arange(40), None, None, Bank(clean, ()), band)
    monkeypatch.setattr(command, 'prepare', lambda *_, **options: prepared)

    def fit(*arguments):
        raise InterruptedError

    monkeypatch.setattr(command, 'train_verifiers', fit)
    # The scores alone need no test images.
    error, message = (
        (UserError, 'test split: .*no pair of 3 images.*more images')
        if controls
        else (InterruptedError, '')
    )
    with pytest.raises(error, match=message):
        verify.run(tmp_path, tmp_path / 'out', steps=1, seed=0, controls=controls)
