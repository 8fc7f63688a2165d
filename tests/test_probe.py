import json

import numpy as np
import pytest

from contrastive_jax import bounds, probe
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.similarities import measure_files
from tests.processes import command


def _arrays(seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in (('train', 60), ('test', 30)):
        labels = np.arange(n) % 3 * 10  # Any integers name classes.
        arrays[f'{split}_features'] = 4 * np.eye(5)[labels // 10] + rng.normal(size=(n, 5))
        arrays[f'{split}_labels'] = labels
    return arrays


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / 'features.npz', **_arrays())
    return str(tmp_path / 'features.npz')


def test_features_from_elsewhere_are_probed(path, tmp_path):
    options = ['--labels_per_class=5', f'--out={tmp_path}/probe.json']
    done = command('probe', f'--features={path}', *options)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / 'probe.json').read_text())
    assert json.loads(done.stdout) == found
    assert found['linear'] > 0.85
    assert found['knn20'] > 0.85
    assert found['by_class'].keys() == {'0', '10', '20'}
    assert found['validation']['linear'] > 0.6  # Of six samples.


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'test_labels': None}, 'lacks test_labels; write it with numpy.savez'),
        ({'test_features': np.ones((30, 4))}, 'need the same number of columns'),
        ({'train_labels': np.ones(60)}, r'train_labels: holds float64 \[60\]; need 60 integers'),
        ({'train_features': np.ones(60)}, r'train_features: holds float64 \[60\]; need floats'),
        ({'train_labels': np.arange(60) // 59}, r'--labels_per_class=10: the smallest class has 1'),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, changes, words):
    arrays = _arrays() | changes
    path = tmp_path / 'features.npz'
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=words):
        probe.run(str(path), None, 10)


@pytest.mark.ci
def test_an_earlier_result_is_not_overwritten(path, tmp_path):
    (tmp_path / 'probe.json').write_text('precious')
    with pytest.raises(UserError, match='exists already'):
        probe.run(path, tmp_path / 'probe.json', 5)
    assert (tmp_path / 'probe.json').read_text() == 'precious'
    found = probe.run(path, tmp_path / 'probe.json', 5, overwrite=True)
    assert json.loads((tmp_path / 'probe.json').read_text()) == found


def test_the_estimates_take_features_too(tmp_path):
    arrays = _arrays()
    np.save(tmp_path / 'rows.npy', arrays['train_features'])
    np.save(tmp_path / 'labels.npy', arrays['train_labels'])
    rows, labels = str(tmp_path / 'rows.npy'), str(tmp_path / 'labels.npy')
    with pytest.raises(UserError, match=r'(?s)40 rows of .*with labels: alpha 0\.'):
        # Easy pairs of classes on their own axes have cosines about zero, and below.
        bounds.fitted(measure_files(rows, labels, 40))
    np.save(tmp_path / 'rows.npy', 2 + arrays['train_features'])
    model, text = bounds.fitted(measure_files(rows, labels, 60))
    assert model.num_classes == 3
    assert '60 rows of' in text
