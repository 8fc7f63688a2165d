import json

import numpy as np
import pytest

from contrastive_jax import main, verify
from contrastive_jax.data.score_files import read_scores
from contrastive_jax.errors import UserError
from contrastive_jax.runs import TrainedRun, load_run
from tests.helpers import small_config, write_npz

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('verify')
    data = str(write_npz(folder / 'data.npz', test=24))
    main.run(small_config(data__name='npz', data__data_dir=data), folder / 'run')
    return folder / 'run'


@pytest.fixture(scope='module')
def out(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp('out') / 'verify'
    verify.run(workdir, folder, steps=2, seed=0)
    return folder


@pytest.mark.slow
def test_everything_is_written(out):
    for name in verify._FILES:
        assert (out / name).stat().st_size > 0
    tables = json.loads((out / 'verify.json').read_text())
    for split in ('train', 'test'):
        controls = {'cosine', 'cosine, mean of views', 'k-reciprocal', *verify._CONTROLS}
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


@pytest.mark.slow
def test_nothing_is_overwritten(workdir, out):
    before = (out / 'energies.npz').read_bytes()
    with pytest.raises(UserError, match=r'holds energies\.npz.*another --out'):
        verify.run(workdir, out, steps=2, seed=0)
    assert (out / 'energies.npz').read_bytes() == before


def test_a_denoiser_is_refused(tmp_path, monkeypatch):
    config = small_config(model__name='feedforward')
    denoiser = TrainedRun(config, None, None, None, None, 1)
    monkeypatch.setattr(verify, 'load_run', lambda workdir: denoiser)
    with pytest.raises(UserError, match=r'holds a denoiser \(feedforward\)'):
        verify.run(tmp_path, tmp_path / 'out', steps=1, seed=0)
