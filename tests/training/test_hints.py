import numpy as np
import pytest

from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.training.hints import advice
from tests.helpers import small_config


def _split(labels):
    return Split(np.zeros((len(labels), 8, 8, 1), np.uint8), np.asarray(labels, np.int32))


def _advice(train, **changes):
    dataset = Dataset(train, train, tuple('abcdef'), train)
    return advice(small_config(**changes), dataset, train)


BALANCED = [0, 1] * 20


@pytest.mark.parametrize(
    ('labels', 'changes', 'words'),
    [
        (BALANCED, {'batch_size': 24, 'probe__neighbours': 10}, ['config.batch_size=24: an epoch']),
        (BALANCED, {'probe__neighbours': 11}, ['config.probe.neighbours=11: more than 25%']),
        ([*BALANCED, 4], {'probe__neighbours': 5}, ['labelled image: e', 'training image: e']),
        (
            BALANCED,
            {'probe__neighbours': 10, 'loss__name': 'debiased', 'loss__tau_plus': 0.05},
            ['config.loss.tau_plus=0.05: the chance that a negative is of the same class; with 6'],
        ),
        (
            BALANCED,
            {'probe__neighbours': 10, 'moco__queue_size': 48},
            ['config.moco.queue_size=48: more keys than the 40 images'],
        ),
        (
            BALANCED,
            {'probe__neighbours': 10, 'data__data_dir': 'x'},
            ["config.data.data_dir='x': nothing is read from it, since the digits come with"],
        ),
        (
            [*BALANCED, 2, 3, 4, 5],
            {'probe__neighbours': 5},
            ['4 classes have one labelled image: c, d, e, ...', '4 classes'],
        ),
    ],
)
def test_sizes_that_are_rarely_meant_are_named(labels, changes, words):
    lines = _advice(_split(labels), **changes)
    assert len(lines) == len(words)
    for line, text in zip(lines, words, strict=True):
        assert text in line


@pytest.mark.parametrize(('images', 'words'), [(40, 'two choose 20 or less'), (5, 'is one step')])
def test_the_batch_that_is_advised_can_be_had(images, words):
    # Four devices.
    changes = {'batch_size': images // 4 * 4, 'probe__neighbours': 1}
    (line,) = (line for line in _advice(_split([0] * images), **changes) if 'batch_size' in line)
    assert line.endswith(words)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'batch_size': 20, 'optimizer__learning_rate': 25.6}, 'by 4.0% of its length at the peak'),
        ({'batch_size': 20, 'optimizer__learning_rate': 20.0}, ''),
        ({'optimizer__name': 'lars_clipped', 'optimizer__learning_rate': 100.0}, ''),
    ],
)
def test_steps_of_lars_that_are_too_long_are_named(changes, words):
    changes = {'optimizer__name': 'lars', 'probe__neighbours': 10} | changes
    lines = [line for line in _advice(_split(BALANCED), **changes) if 'learning_rate' in line]
    assert [words in line for line in lines] == [True] * bool(words)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'pairs__pos_high': 0.1, 'pairs__pos_low': 0.105}, 'both mean the 4 most similar of 38'),
        ({'pairs__pos_high': 0.06, 'pairs__pos_low': 0.1}, ''),
        ({'pairs__pos_high': 0.1, 'pairs__pos_low': 0.105, 'pairs__select': 'all'}, ''),
        (
            {'pairs__pos_high': 0.06, 'pairs__pos_low': 0.1, 'moco__queue_size': 20},
            'the 2 most similar of 20 negatives',
        ),
    ],
)
def test_a_band_without_pairs_is_named(changes, words):
    changes = {'batch_size': 20, 'pairs__select': 'difficult', 'pairs__margin': 0.1} | changes
    lines = [
        line for line in _advice(_split(BALANCED), **changes) if 'no pair is difficult' in line
    ]
    assert [words in line for line in lines] == [True] * bool(words)


@pytest.mark.parametrize('devices', [1, 4])
def test_a_shuffle_on_one_device_is_named(monkeypatch, devices):
    monkeypatch.setattr('jax.device_count', lambda: devices)
    changes = {'moco__shuffle': True, 'moco__queue_size': 40, 'batch_size': 20}
    changes |= {'model__sync_batch_norm': False}
    lines = _advice(_split(BALANCED), **changes)
    assert any('config.moco.shuffle=True: has no effect' in line for line in lines) == (devices < 2)


def test_what_a_monitor_cannot_measure_is_said():
    train = _split(BALANCED)
    unlabelled = train._replace(labels=None)
    config = small_config(monitor__every_epochs=1, monitor__images=50, probe__neighbours=10)
    lines = advice(config, Dataset(train, train, ('a', 'b'), unlabelled), unlabelled)
    assert len(lines) == 2
    assert 'config.monitor.images=50: the run trains on 40 images' in lines[0]
    assert 'band_purity are not measured' in lines[1]
    config.monitor.images = 40
    lines = advice(config, Dataset(unlabelled, train, (), train), train)
    assert lines == ['config.monitor: without labels it measures no monitor/knn']


def test_usual_sizes_need_no_advice():
    assert _advice(_split(BALANCED), batch_size=20, probe__neighbours=10) == []
    images = Split(np.zeros((40, 8, 8, 1), np.uint8), None)
    assert _advice(images, batch_size=20) == []


@pytest.mark.parametrize(
    ('labels', 'test_labels', 'words'),
    [
        ([1] * 40, [1] * 4, ['all labelled images are of one class, b: the probes']),
        (BALANCED, [0, 2, 3, 2], ['2 classes have test images and no labelled ones', ': c, d']),
        (BALANCED, [0, 1], []),
    ],
)
def test_labels_that_probes_cannot_learn_from_are_named(labels, test_labels, words):
    train = _split(labels)
    dataset = Dataset(train, _split(test_labels), tuple('abcdef'), train)
    lines = advice(small_config(batch_size=20, probe__neighbours=10), dataset, train)
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)
