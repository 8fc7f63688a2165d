import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax import main
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import extract_features
from contrastive_jax.evaluation.geometry import alignment, effective_rank, uniformity
from contrastive_jax.evaluation.knn import VotingRule, knn_predict
from contrastive_jax.evaluation.monitor import check_monitor, make_monitor, measures, monitored
from contrastive_jax.graph import sample_difficulty
from contrastive_jax.graph.class_cosines import cosines_by_class
from contrastive_jax.models import Moments
from contrastive_jax.models.frozen import encoder_function
from contrastive_jax.runs.dynamics import read_dynamics
from contrastive_jax.training import loop
from contrastive_jax.training.devices import AXIS, replicate
from contrastive_jax.training.looks import no_looks
from contrastive_jax.training.setup import set_up
from tests.helpers import npz_changes, small_config, taken_away
from tests.marks import in_ci
from tests.processes import metrics

# Orbax and its event loop leave warnings of their own.
pytestmark = pytest.mark.filterwarnings('ignore')
KEYS = {
    f'monitor/{name}'
    for name in (
        *('knn', 'rank', 'alignment', 'uniformity', 'alpha', 'beta', 'gamma', 'ordered'),
        'band_purity',
    )
}


def _config(tmp_path, labels=True, **changes):
    changes = {'monitor__every_epochs': 2, 'monitor__images': 10} | changes
    return small_config(
        **npz_changes(tmp_path, labels=labels), epochs=4, checkpoint_every=3, **changes
    )


def _loaded(config):
    dataset = sources.load(config.data)
    return dataset, construct(config, dataset.pretrain)


@pytest.mark.ci
def test_a_short_run_of_few_images_is_looked_at_once_at_its_end(tmp_path, caplog):
    config = _config(tmp_path, monitor__every_epochs=50, monitor__images=400)
    main.run(config, tmp_path / 'run')
    looks = [line['epoch'] for line in metrics(tmp_path / 'run') if 'monitor/rank' in line]
    assert looks == [3]
    assert 'config.monitor.images=400: the run trains on 40 images' in caplog.text


def test_each_class_needs_an_image(tmp_path):
    config = _config(tmp_path, monitor__images=2)
    dataset, _ = _loaded(config)
    check_monitor(config, dataset)
    three = np.arange(40, dtype=np.int32) % 3
    train = dataset.train._replace(labels=three)
    with pytest.raises(UserError, match=r'images=2: fewer than the 3 classes'):
        check_monitor(config, dataset._replace(train=train, pretrain=train))


def test_the_images_are_fixed_and_hold_each_class_in_proportion(tmp_path):
    config = _config(tmp_path, seed=3)
    loaded = _loaded(config)
    sample = monitored(config, *loaded)
    assert np.bincount(sample.labels['trained']).tolist() == [5, 5]
    assert sorted(sample.images) == ['first', 'queries', 'second', 'trained']
    np.testing.assert_array_equal(sample.images['trained'], loaded[0].train.images[sample.trained])
    config.seed = 4
    again = monitored(config, *loaded)
    jax.tree.map(np.testing.assert_array_equal, sample.images, again.images)


def test_mixed_images_are_looked_at_and_others_vote(tmp_path):
    config = _config(tmp_path, mixed__ratio=0.5)
    dataset, construction = _loaded(config)
    sample = monitored(config, dataset, construction)
    mixed = construction.split.images[sample.trained]
    np.testing.assert_array_equal(sample.images['trained'], mixed)
    assert 'voters' in sample.images
    assert not np.array_equal(sample.images['voters'], mixed)


def _any_features(sample):
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(rng.normal(size=(len(images), 6)), jnp.float32)
        for name, images in sample.images.items()
    }


@pytest.mark.parametrize('labels', [*in_ci(True), False])
def test_what_can_be_measured_is(labels, tmp_path):
    config = _config(tmp_path, labels=labels)
    sample = monitored(config, *_loaded(config))
    features = _any_features(sample)
    found, score = measures(features, sample.labels, pos_high=0.2, pos_low=0.5)
    known = {'monitor/knn', 'monitor/ordered', 'monitor/band_purity'}
    assert found.keys() == (KEYS if labels else KEYS - known)
    assert np.isfinite([float(value) for value in found.values()]).all()
    assert score.shape == (10,)
    if not labels:
        assert found['monitor/beta'] < found['monitor/gamma'] < found['monitor/alpha']


@pytest.mark.parametrize('voters', ['trained', 'voters'])
def test_each_entry_is_what_its_own_function_measures(voters):
    rng = np.random.default_rng(1)
    # More than 20 voters, so that some have no vote; the hits of an odd number are not its misses.
    sizes = {'trained': 30, 'first': 8, 'second': 8, 'voters': 25, 'queries': 13}
    features = {
        # Off the centre, so that cosines and rank depend on whether something is centred.
        name: jnp.asarray(rng.normal(0.5, size=(size, 6)), jnp.float32)
        for name, size in sizes.items()
        if name != 'voters' or name == voters
    }
    labels = {
        name: rng.integers(0, 3, sizes[name]).astype(np.int32)
        for name in ('trained', 'voters', 'queries')
        if name in features
    }
    band = {'pos_high': 0.2, 'pos_low': 0.5}
    found, score = measures(features, labels, **band)
    known, truth = (jnp.asarray(labels[name]) for name in (voters, 'queries'))
    (predicted,) = knn_predict(
        features[voters], known, features['queries'], num_classes=3, rules=(VotingRule(20),)
    )
    trained = features['trained']
    cosines = cosines_by_class(trained, jnp.asarray(labels['trained']), **band)
    expected = {
        'knn': float(np.mean(predicted == truth)),
        'rank': effective_rank(trained),
        'alignment': alignment(features['first'], features['second']),
        'uniformity': uniformity(trained),
        'alpha': cosines.alpha,
        'beta': cosines.beta,
        'gamma': cosines.gamma,
        'ordered': float(cosines.beta < cosines.gamma < cosines.alpha),
        'band_purity': cosines.purity,
    }
    assert found.keys() == {f'monitor/{name}' for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(found[f'monitor/{name}'], value, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(score, sample_difficulty(trained, **band).score, rtol=1e-5)


def test_without_labels_the_bands_alone_decide():
    rng = np.random.default_rng(1)
    features = {
        name: jnp.asarray(rng.normal(0.5, size=(size, 6)), jnp.float32)
        for name, size in (('trained', 30), ('first', 8), ('second', 8))
    }
    band = {'pos_high': 0.2, 'pos_low': 0.5}
    found, _ = measures(features, {}, **band)
    bands = sample_difficulty(features['trained'], center=False, **band)
    for name in ('alpha', 'beta', 'gamma'):
        expected = np.mean(getattr(bands, name))
        np.testing.assert_allclose(found[f'monitor/{name}'], expected, rtol=1e-5, err_msg=name)


def test_without_easy_pairs_there_is_no_order(tmp_path):
    config = _config(tmp_path)
    sample = monitored(config, *_loaded(config))
    found, _ = measures(_any_features(sample), sample.labels, pos_high=0.2, pos_low=1.0)
    assert np.isnan([found['monitor/beta'], found['monitor/ordered']]).all()
    assert np.isfinite(found['monitor/gamma'])


def test_a_run_without_monitor_has_no_looks(tmp_path):
    config = _config(tmp_path, monitor__every_epochs=0)
    assert make_monitor(config, *_loaded(config), tmp_path) is no_looks


@pytest.mark.ci
def test_a_look_measures_the_features_of_its_images(tmp_path):
    config = _config(tmp_path, monitor__images=8)
    loaded = _loaded(config)
    graphdef, initial, *_ = set_up(config, Moments((0.5,), (0.25,)), 2, AXIS)
    state = replicate(initial)
    metrics = make_monitor(config, *loaded, tmp_path)(graphdef, state).metrics(4, state)
    sample = monitored(config, *loaded)
    encode = encoder_function(graphdef, initial.params, initial.stats)
    features = {
        name: jnp.asarray(extract_features(encode, images))
        for name, images in sample.images.items()
    }
    band = {'pos_high': config.pairs.pos_high, 'pos_low': config.pairs.pos_low}
    expected, _ = measures(features, sample.labels, **band)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)


@pytest.mark.ci
def test_a_resumed_run_looks_at_the_same_epochs_and_sees_the_same(tmp_path, monkeypatch, compiled):
    config = _config(tmp_path)
    dataset, construction = _loaded(config)
    split = construction.split
    for name in ('plain', 'whole', 'broken'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'config.json').write_text('{}')
    plain = loop.pretrain(config, split, tmp_path / 'plain')
    jax.clear_caches()
    compiled.clear()
    monitors = {
        name: make_monitor(config, dataset, construction, tmp_path / name)
        for name in ('whole', 'broken')
    }
    whole = loop.pretrain(config, split, tmp_path / 'whole', monitor=monitors['whole'])
    # The step is the same as without a monitor, and all looks are one more mapped program.
    assert compiled['train_step'] + compiled['_look'] + compiled['_fun'] == 2
    jax.tree.map(np.testing.assert_array_equal, plain.final.params, whole.final.params)

    with taken_away(monkeypatch, 'make_batch', 5), pytest.raises(RuntimeError, match='taken away'):
        loop.pretrain(config, split, tmp_path / 'broken', monitor=monitors['broken'])
    loop.pretrain(config, split, tmp_path / 'broken', monitor=monitors['broken'])
    lines = metrics(tmp_path / 'whole')
    assert metrics(tmp_path / 'broken') == lines
    # Two steps an epoch.
    assert [line['step'] for line in lines if 'monitor/knn' in line] == [4, 8]
    assert lines[3].keys() - lines[2].keys() == KEYS
    without = [{k: v for k, v in line.items() if k not in KEYS} for line in lines]
    assert without == metrics(tmp_path / 'plain')
    over_time = [read_dynamics(tmp_path / name) for name in ('whole', 'broken')]
    assert over_time[0].epochs.tolist() == [2, 4]
    assert over_time[0].score.shape == (2, 10)
    jax.tree.map(np.testing.assert_array_equal, *over_time)
