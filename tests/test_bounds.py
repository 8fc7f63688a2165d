import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contrastive_jax import bounds, main, theory
from contrastive_jax.errors import UserError
from contrastive_jax.runs import load_run
from tests.helpers import small_config, write_npz

ROOT = Path(__file__).parents[1]
MODEL = theory.SimilarityModel(4, 20, 4, 0.6, 0.1, 0.35)


def test_the_report_holds_every_bound_and_condition():
    text = bounds.report(MODEL, 0.1, 4)
    for values in theory.bounds(MODEL, 0.1, 4):
        for value in values:
            assert f'{value:.4f}' in text
    assert 'removal helps: yes' in text
    assert 'temperature scaling helps: no' in text
    assert f'{theory.optimal_margin(MODEL):.6g}' in text


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
    command = [sys.executable, '-m', 'contrastive_jax.bounds']
    flags = [f'--{name}={value}' for name, value in numbers.items()]
    done = subprocess.run(command + flags, cwd=ROOT, capture_output=True, text=True, check=True)
    assert bounds.report(MODEL, 0.1, 4) in done.stdout
    assert numbers['out'].read_bytes().startswith(b'\x89PNG')
    wrong = [flag.replace('gamma=0.35', 'gamma=0.7') for flag in flags]
    done = subprocess.run(command + wrong, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'gamma=0.7' in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_a_trained_run_is_measured(tmp_path):
    config = small_config(
        data__name='npz', data__data_dir=str(write_npz(tmp_path / 'data.npz')), epochs=1
    )
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
            bounds.estimate_run(workdir, 40)
    else:
        model, text = bounds.estimate_run(workdir, 40)
        assert model == theory.fitted_model(by_labels, 2, 20)
        assert f'alpha {by_labels.alpha.value:.4f}' in text
