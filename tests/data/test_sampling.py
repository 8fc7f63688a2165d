import numpy as np
import pytest

from contrastive_jax.data.sampling import representative


@pytest.mark.parametrize('labels', [None, np.repeat(np.arange(5), 20)])
def test_draws_distinct_indices_in_order_and_follows_the_seed(labels):
    first, again, other = (representative(100, 30, labels, seed) for seed in (0, 0, 1))
    assert len(np.unique(first)) == 30
    assert np.all(np.diff(first) > 0)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(representative(100, 100, labels), np.arange(100))
    np.testing.assert_array_equal(representative(100, 101, labels), np.arange(100))


def test_of_a_sorted_data_set_every_class_has_its_share():
    labels = np.repeat(np.arange(200), 500)
    drawn = representative(len(labels), 2000, labels)
    np.testing.assert_array_equal(np.bincount(labels[drawn]), 10)


@pytest.mark.parametrize('count', [7, 50, 333, 900])
def test_shares_are_within_one_of_proportional_and_nobody_is_left_out(count):
    sizes = np.array([600, 250, 100, 40, 8, 1, 1])
    labels = np.repeat(np.arange(7) * 100 - 3, sizes)
    drawn = representative(1000, count, labels)
    counts = np.array([np.sum(labels[drawn] == name) for name in np.unique(labels)])
    assert counts.min() >= 1
    # A place that the rule gives to a rare class comes from the frequent ones.
    assert np.all(counts <= np.maximum(1, np.ceil(count * sizes / 1000)))
    assert np.all(counts >= np.floor(count * sizes / 1000) - 4)


def test_fewer_places_than_classes_go_to_different_classes():
    labels = np.repeat(np.arange(20), 5)
    drawn = representative(100, 8, labels)
    assert len(np.unique(labels[drawn])) == 8


def test_without_labels_every_sample_is_equally_likely():
    drawn = np.concatenate([representative(20, 5, seed=seed) for seed in range(400)])
    counts = np.bincount(drawn, minlength=20)
    # Mean 100, standard deviation sqrt(400 * 1/4 * 3/4) = 8.7.
    assert np.all(np.abs(counts - 100) < 40)
