import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from contrastive_jax.objectives import info_nce, queue_band, queue_different_class_share
from contrastive_jax.training.devices import AXIS
from tests.marks import in_ci

M, N = 6, 20
ARMS = {
    'plain': {},
    'removal': {'remove': True},
    'margin': {'margin': 0.3},
    'temperature': {'temperature_scale': 0.6},
    'combined': {'margin': 0.2, 'temperature_scale': 0.7},
}


def _rows(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _selected(features, queue, high, low):
    """Pair by pair: the places of the band in each anchor's descending order."""
    similarity = _unit(features) @ _unit(queue).T
    chosen = np.zeros(similarity.shape, bool)
    for row, order in zip(chosen, np.argsort(-similarity, axis=1), strict=True):
        first, last = (math.ceil(q * len(order)) for q in (high, low))
        # At the upper threshold a pair is above the band, at the lower one within it.
        row[order[first:last]] = True
    return chosen


def _loss(queries, keys, queue, chosen, remove=False, margin=0.0, temperature_scale=1.0):
    tau, losses = 0.3, []
    for query, key, row in zip(_unit(queries), _unit(keys), chosen, strict=True):
        positive, total = query @ key / tau, 0.0
        for other, treated in zip(_unit(queue), row, strict=True):
            if treated and remove:
                continue
            logit = query @ other / tau
            if treated:
                logit = (query @ other + margin) / (tau * temperature_scale)
            total += math.exp(logit)
        losses.append(-positive + math.log(math.exp(positive) + total))
    return np.mean(losses)


@pytest.mark.parametrize(
    ('arm', 'block_size'),
    [
        *((arm, None) for arm in ARMS),
        ('combined', 4),
        *in_ci(*((arm, 4) for arm in ARMS if arm != 'combined')),
    ],
)
def test_every_arm_is_its_reference(arm, block_size):
    queries, keys, queue = _rows(0, M, 5), _rows(1, M, 5), _rows(2, N, 5)
    features, queue_features = _rows(3, M, 7), _rows(4, N, 7)
    band = queue_band(jnp.asarray(features), jnp.asarray(queue_features), pos_high=0.1, pos_low=0.5)
    chosen = _selected(features, queue_features, 0.1, 0.5)
    arguments = map(jnp.asarray, (queries, keys, queue))
    loss, metrics = info_nce(
        *arguments, temperature=0.3, pairs=band, block_size=block_size, **ARMS[arm]
    )
    np.testing.assert_allclose(loss, _loss(queries, keys, queue, chosen, **ARMS[arm]), rtol=1e-5)
    np.testing.assert_allclose(metrics['selected_share'], chosen.mean(), rtol=1e-6)
    positive = np.mean(np.sum(_unit(queries) * _unit(keys), axis=1))
    np.testing.assert_allclose(metrics['positive_similarity'], positive, rtol=1e-5)
    # A matrix says the same as the band.
    arguments = map(jnp.asarray, (queries, keys, queue))
    by_matrix, _ = info_nce(*arguments, temperature=0.3, pairs=jnp.asarray(chosen), **ARMS[arm])
    np.testing.assert_allclose(by_matrix, loss, rtol=1e-6)


def test_all_treats_every_row_of_the_queue():
    queries, keys, queue = (jnp.asarray(_rows(seed, M, 5)) for seed in range(3))
    loss, metrics = info_nce(queries, keys, queue, temperature=0.3, pairs='all', margin=0.2)
    expected = _loss(queries, keys, queue, np.ones((M, M), bool), margin=0.2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert metrics['selected_share'] == 1


@pytest.mark.parametrize('arm', ['plain', 'combined', *in_ci('removal', 'margin', 'temperature')])
def test_gradients_are_those_of_differences(arm):
    keys, queue = jnp.asarray(_rows(1, M, 5)), jnp.asarray(_rows(2, N, 5))
    band = queue_band(queries := jnp.asarray(_rows(0, M, 5)), queue, pos_high=0.1, pos_low=0.5)

    def loss(queries):
        return info_nce(
            jnp.asarray(queries), keys, queue, temperature=0.5, pairs=band, **ARMS[arm]
        )[0]

    check_grads(loss, (queries,), order=1, modes=['rev'], atol=2e-2, rtol=2e-2)


def test_nothing_flows_into_keys_and_queue():
    queries, keys, queue = (jnp.asarray(_rows(seed, M, 5)) for seed in range(3))

    def loss(keys, queue):
        return info_nce(queries, keys, queue, temperature=0.5)[0]

    for gradient in jax.grad(loss, argnums=(0, 1))(keys, queue):
        np.testing.assert_array_equal(gradient, 0)


def test_no_gradient_flows_through_the_selection():
    def thresholds(features, queue):
        band = queue_band(features, queue, pos_high=0.25, pos_low=0.5)
        return jnp.sum(band.high + band.low) + jnp.sum(band.features) + jnp.sum(band.queue)

    features, queue = jnp.asarray(_rows(0, M, 5)), jnp.asarray(_rows(1, N, 5))
    for gradient in jax.jit(jax.grad(thresholds, argnums=(0, 1)))(features, queue):
        np.testing.assert_array_equal(gradient, 0)


def test_devices_share_the_mean():
    queries, keys, queue = _rows(0, 8, 5), _rows(1, 8, 5), jnp.asarray(_rows(2, N, 5))
    one, metrics = info_nce(jnp.asarray(queries), jnp.asarray(keys), queue, temperature=0.3)

    def mapped(queries, keys):
        return info_nce(queries, keys, queue, temperature=0.3, axis_name=AXIS)

    split = (rows.reshape(4, 2, 5) for rows in (queries, keys))
    four, shares = jax.pmap(mapped, axis_name=AXIS)(*split)
    np.testing.assert_allclose(four, np.full(4, one), rtol=1e-6)
    assert shares.keys() == metrics.keys()


def test_classes_of_selected_pairs_are_counted():
    features, queue = _rows(0, M, 5), _rows(1, N, 5)
    labels, queue_labels = np.arange(M) % 3, np.arange(N) % 3
    chosen = _selected(features, queue, 0.1, 0.4)
    band = queue_band(jnp.asarray(features), jnp.asarray(queue), pos_high=0.1, pos_low=0.4)
    found = queue_different_class_share(band, jnp.asarray(labels), jnp.asarray(queue_labels))
    expected = np.mean((labels[:, None] != queue_labels)[chosen])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    everything = queue_different_class_share('all', jnp.asarray(labels), jnp.asarray(queue_labels))
    np.testing.assert_allclose(everything, np.mean(labels[:, None] != queue_labels), rtol=1e-6)


@pytest.mark.parametrize('block_size', [None, 2])
def test_unknown_classes_count_nowhere(block_size):
    features, queue = _rows(0, 8, 5), _rows(1, N, 5)
    labels, queue_labels = np.arange(8) % 3, np.arange(N) % 3
    labels[[1, 6]], queue_labels[5:] = -1, -1
    chosen = _selected(features, queue, 0.1, 0.9)
    pairs = [(labels[i], queue_labels[j]) for i, j in np.argwhere(chosen)]
    known = [(y, c) for y, c in pairs if y >= 0 and c >= 0]
    assert 0 < len(known) < len(pairs)
    expected = np.mean([y != c for y, c in known])
    assert 0 < expected < 1

    def share(features, labels, **options):
        band = queue_band(features, jnp.asarray(queue), pos_high=0.1, pos_low=0.9)
        return queue_different_class_share(band, labels, jnp.asarray(queue_labels), **options)

    found = share(jnp.asarray(features), jnp.asarray(labels), block_size=block_size)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # One of the four devices knows no class, and all say the same.
    split = features.reshape(4, 2, 5), labels.reshape(4, 2)
    over_devices = jax.pmap(lambda *rows: share(*rows, axis_name=AXIS), axis_name=AXIS)(*split)
    np.testing.assert_allclose(over_devices, np.full(4, expected), rtol=1e-6)


def test_where_no_class_is_known_there_is_no_share():
    unknown = jnp.full(N, -1)
    assert np.isnan(queue_different_class_share('all', jnp.arange(M), unknown))
    assert np.isnan(queue_different_class_share('all', jnp.full(M, -1), jnp.zeros(N, jnp.int32)))


def test_bad_arguments_are_named(unchecked_types):
    rows = jnp.ones((2, 3))
    for keys, queue in ((rows[:1], rows), (rows, rows[:0]), (rows, rows[:, :2])):
        with pytest.raises(ValueError, match='need a key for each query, and a queue of at least'):
            info_nce(rows, keys, queue, temperature=0.5)
    with pytest.raises(ValueError, match='temperature=0'):
        info_nce(rows, rows, rows, temperature=0.0)
    with pytest.raises(ValueError, match='pos_high'):
        queue_band(rows, rows, pos_high=0.6, pos_low=0.5)
