import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from contrastive_jax import load_encoder, main
from contrastive_jax.data import sources
from contrastive_jax.ebt.section import DENOISERS
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.models.frozen import encoder_function
from contrastive_jax.models.portable import read_portable, write_portable
from contrastive_jax.runs.loading import load_run
from contrastive_jax.runs.names import ENCODER
from tests.helpers import npz_changes, portable_run, small_config

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')
KERNEL = 'encoder.stem.conv.kernel'
OLD_CODE = '--xla_cpu_use_fusion_emitters'
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp('trained')
    main.run(small_config(**npz_changes(folder, train=80)), folder / 'run')
    return folder / 'run'


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it that may be spoilt."""
    shutil.copytree(trained, tmp_path / 'run')
    return tmp_path / 'run'


@pytest.fixture(scope='module')
def untrained(tmp_path_factory):
    """The folder of a ResNet with an encoder's file."""
    folder = tmp_path_factory.mktemp('untrained') / 'run'
    portable_run(folder, small_config(model__name='resnet18'))
    return folder


def _images(n, channels=1):
    return np.random.default_rng(n).integers(0, 256, (n, 8, 8, channels), dtype=np.uint8)


def test_a_run_leaves_an_encoder_that_needs_nothing_else(run, monkeypatch):
    features = extract_features(load_run(run).encode, _images(40))
    moved = run.with_name('moved.safetensors')
    (run / ENCODER).rename(moved)
    shutil.rmtree(run)
    monkeypatch.setattr(sources, 'load', None)
    encoder = load_encoder(moved)
    np.testing.assert_array_equal(encoder(_images(40)), features, strict=True)
    assert encoder.image_shape == (8, 8, 1)
    assert encoder.num_features == features.shape[1]
    assert encoder.step == 10
    assert encoder.config.model.name == 'conv'


def test_the_file_says_where_it_comes_from_and_no_path(trained):
    arrays, facts = read_portable(trained / ENCODER)
    assert not any(name.startswith('projector') for name in arrays)
    assert {'encoder.layers.0.conv.kernel', 'encoder.layers.2.norm.var'} <= arrays.keys()
    assert json.loads(facts['model']) == json.loads((trained / 'config.json').read_text())['model']
    assert json.loads(facts['image_shape']) == [8, 8, 1]
    assert json.loads(facts['step']) == 10
    assert json.loads(facts['versions'])['jax'] == jax.__version__
    assert set(json.loads(facts['moments'])) == {'mean', 'std'}
    assert len(facts['training_images_checksum']) == 64
    assert str(trained.parent) not in str(facts)


def test_the_encoder_of_a_run_with_removal_by_scores_is_read(trained, tmp_path):
    # The file holds no paths, so none of the scores either.
    arrays, facts = read_portable(trained / ENCODER)
    config = json.loads(facts['config'])
    config['removal'] |= {'ratio': 0.2, 'method': 'difficulty'}
    path = tmp_path / 'encoder.safetensors'
    write_portable(path, arrays, facts | {'config': json.dumps(config)})
    assert load_encoder(path).config.removal.ratio == 0.2


def test_file_and_checkpoint_are_one_encoder(run, monkeypatch):
    by_file, images = load_encoder(run), _images(30)
    (run / ENCODER).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(sources, 'load', None)
        by_checkpoint = load_encoder(str(run))
    np.testing.assert_array_equal(by_file(images), by_checkpoint(images), strict=True)
    assert by_file.step == by_checkpoint.step


def test_moments_that_an_old_run_did_not_keep_are_measured(run, capsys):
    by_file, images = load_encoder(run), _images(30)
    assert capsys.readouterr().err == ''
    (run / ENCODER).unlink()
    (run / 'images.json').unlink()
    measured = load_encoder(run)
    assert 'measured from the data once more' in capsys.readouterr().err
    np.testing.assert_array_equal(by_file(images), measured(images), strict=True)


def test_a_run_is_loaded_by_its_file(run):
    shutil.rmtree(run / 'checkpoints')
    assert load_run(run).step == 10
    portable_run(run.with_name('other'), small_config(model__width=5), shape=(8, 8, 1))
    shutil.copy(run.with_name('other') / ENCODER, run / ENCODER)
    with pytest.raises(UserError, match='of another model'):
        load_run(run)


@pytest.mark.parametrize('model', ['conv', pytest.param('resnet18', marks=pytest.mark.slow)])
def test_any_number_of_images_is_encoded_as_extract_features_does(tmp_path, model, request):
    if model == 'resnet18' and os.environ['XLA_FLAGS'].split()[-1] == f'{OLD_CODE}=false':
        # Equal to the last bit whatever the size of a batch: a promise for the code that XLA makes
        # by default, which takes longer to make.
        flags = f'{os.environ["XLA_FLAGS"]} {OLD_CODE}=true'
        # The name of the group is no part of what is asked for.
        test = request.node.nodeid.removesuffix('@encoder')
        command = [sys.executable, '-m', 'pytest', '-n', '0', '-m', 'slow', test]
        environ = {k: v for k, v in os.environ.items() if not k.startswith('PYTEST_XDIST')}
        subprocess.run(command, cwd=ROOT, check=True, env=environ | {'XLA_FLAGS': flags})
        return
    for channels in (1, 3):
        _check_any_number(tmp_path / str(channels), small_config(model__name=model), channels)


def _check_any_number(workdir, config, channels):
    weights = portable_run(workdir, config, shape=(8, 8, channels))
    encode = encoder_function(weights.graphdef, weights.params, weights.stats)
    encoder = load_encoder(workdir)
    for n in (1, 2, 7, 257, 600):
        images = _images(n, channels)
        expected = extract_features(encode, images)
        np.testing.assert_array_equal(encoder(images), expected, strict=True)
        np.testing.assert_array_equal(encoder(jnp.asarray(images)), expected, strict=True)
    empty = encoder(_images(0, channels))
    assert empty.shape == (0, encoder.num_features)
    assert empty.dtype == np.float32


def test_one_program_serves_any_number(trained, compiled):
    # Another encoder of this architecture may have compiled it already.
    jax.clear_caches()
    encoder = load_encoder(trained)
    for n in (0, 3, 300, 512, 513):
        encoder(_images(n))
    assert compiled['_encode'] == 1


@pytest.mark.parametrize(
    ('images', 'words'),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), r'images\.transpose\(0, 2, 3, 1\)'),
        (np.zeros((8, 8, 3), np.uint8), r'images\[None\]'),
        (np.zeros((2, 8, 8, 1), np.uint8), 'trained on colour images'),
        (np.zeros((2, 9, 9, 3), np.uint8), 'resize them'),
        (np.zeros((2, 8, 8, 3), np.float32), 'pixels from 0 to 255'),
        (np.zeros((0,), np.uint8), r'uint8 \[0\]; this encoder takes uint8 \[n, 8, 8, 3\]'),
        (np.zeros((), np.uint8), r'uint8 \[\]'),
        ([[1]], 'list; .* give a NumPy or JAX array'),
        (np.ma.masked_equal(np.zeros((2, 8, 8, 3), np.uint8), 0), 'MaskedArray; .* give a NumPy'),
        (np.full((2, 8, 8, 3), 255), r'take images\.astype\("uint8"\)'),
        (np.full((2, 8, 8, 3), 255, '>u2'), r'take images\.astype\("uint8"\)'),
        (jnp.full((2, 8, 8, 3), 255.0), r'take images\.round\(\)\.astype\("uint8"\)'),
    ],
)
def test_other_images_are_refused_in_one_line(tmp_path, images, words):
    portable_run(tmp_path / 'run', small_config())
    with pytest.raises(UserError, match=words) as caught:
        load_encoder(tmp_path / 'run')(images)
    assert '\n' not in str(caught.value)


def test_grey_images_without_channel_get_their_own_advice(trained):
    with pytest.raises(UserError, match=r'images\[\.\.\., None\]'):
        load_encoder(trained)(np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(UserError, match='trained on grey images'):
        load_encoder(trained)(np.zeros((2, 8, 8, 3), np.uint8))


def _facts(name, change):
    return lambda arrays, facts: (arrays, facts | {name: change(facts[name])})


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda arrays, facts: (arrays | {KERNEL: np.ones(3)}, facts), f'{KERNEL} is float64'),
        (lambda arrays, facts: (dict(list(arrays.items())[1:]), facts), 'is missing'),
        (
            lambda arrays, facts: (arrays, {k: v for k, v in facts.items() if k != 'step'}),
            'step is',
        ),
        (_facts('model', lambda text: text.replace('resnet18', 'resnet34')), 'of its config has'),
        (_facts('model', lambda text: text.replace('resnet18', 'resnet19')), 'config.model.name'),
        (_facts('model', lambda text: text[:-3]), 'cannot be used'),
        (_facts('moments', lambda text: text.replace('std', 'sdt')), 'std is missing'),
        (_facts('image_shape', lambda text: '[8, 8, 1]'), 'moments of 3 channels'),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused_in_one_line(
    untrained, tmp_path, change, words
):
    path = shutil.copytree(untrained, tmp_path / 'run') / ENCODER
    arrays, facts = read_portable(path)
    write_portable(path, *change(arrays, facts))
    with pytest.raises(UserError, match=words) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_folder_without_an_encoder_is_refused(tmp_path, run):
    with pytest.raises(UserError, match=r'holds no config\.json'):
        load_encoder(tmp_path)
    with pytest.raises(UserError, match='No such file'):
        load_encoder(tmp_path / 'nowhere')
    (run / ENCODER).unlink()
    shutil.rmtree(run / 'checkpoints')
    with pytest.raises(UserError, match='holds no checkpoint'):
        load_encoder(run)


@pytest.mark.parametrize('name', DENOISERS)
def test_a_denoiser_leaves_its_encoder_as_well(tmp_path, name):
    weights = portable_run(tmp_path / 'run', small_config(model__name=name, model__size='small'))
    assert load_encoder(tmp_path / 'run')(_images(3, 3)).shape == (3, weights.num_features)


def test_a_layer_that_holds_a_list_is_encoded_all_the_same():
    class Listed(nnx.Module):
        def __init__(self):
            padding = [(1, 1), (1, 1)]
            self.conv = nnx.Conv(1, 3, (3, 3), padding=padding, rngs=nnx.Rngs(0))

        def encode(self, images, train):
            return self.conv(images).mean((1, 2))

    graphdef, params, stats = nnx.split(Listed(), nnx.Param, nnx.BatchStat)
    with pytest.raises(TypeError, match='unhashable'):
        hash(graphdef)
    images = _images(3)
    features = encoder_function(graphdef, params, stats)(images)
    np.testing.assert_allclose(
        features, Listed().encode(images / np.float32(255), False), rtol=1e-5
    )
