import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from contrastive_jax.evaluation.knn import VotingRule, knn_predict


def _split(seed, n, k=5, c=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)).astype(np.float32), rng.integers(0, c, n).astype(np.int32)


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize('neighbours', [1, 5, 20])
@pytest.mark.parametrize('temperature', [None, 0.1])
def test_agrees_with_scikit_learn(neighbours, temperature):
    (train, labels), (test, _) = _split(0, 90), _split(1, 40)
    # On the unit sphere the squared distance is 2 - 2 s.
    weights = 'uniform'
    if temperature is not None:
        weights = lambda distance: np.exp((1 - np.square(distance) / 2) / temperature)  # noqa: E731
    theirs = KNeighborsClassifier(neighbours, weights=weights).fit(_unit(train), labels)
    rules = (VotingRule(neighbours, temperature), VotingRule(3))
    ours, _ = knn_predict(train, labels, test, num_classes=3, rules=rules)
    np.testing.assert_array_equal(ours, theirs.predict(_unit(test)))


def test_more_neighbours_than_samples_means_all():
    (train, labels), (test, _) = _split(0, 12), _split(1, 7)
    rules = (VotingRule(200, 0.1), VotingRule(12, 0.1))
    np.testing.assert_array_equal(*knn_predict(train, labels, test, num_classes=3, rules=rules))


@pytest.mark.parametrize('neighbours', [3, 30])
def test_rows_that_fill_up_have_no_vote(neighbours):
    (train, labels), (test, _) = _split(0, 12), _split(1, 7)
    rules = (VotingRule(neighbours, 0.1), VotingRule(neighbours))
    expected = knn_predict(train, labels, test, num_classes=3, rules=rules)
    # Zero rows are nearer to a query than all rows that point away from it.
    filled = np.concatenate([train, np.zeros((9, 5), np.float32)])
    no_vote = np.concatenate([labels, np.full(9, -1, np.int32)])
    found = knn_predict(filled, no_vote, test, num_classes=3, rules=rules)
    np.testing.assert_array_equal(found, expected)


def test_blocks_change_nothing():
    (train, labels), (test, _) = _split(0, 50), _split(1, 33)
    options = {'num_classes': 3, 'rules': (VotingRule(7, 0.1),)}
    np.testing.assert_array_equal(
        knn_predict(train, labels, test, block_size=4, **options),
        knn_predict(train, labels, test, block_size=100, **options),
    )


def test_a_low_temperature_stays_finite():
    (train, labels), _ = _split(0, 30), None
    (found,) = knn_predict(train, labels, train, num_classes=3, rules=(VotingRule(5, 1e-3),))
    np.testing.assert_array_equal(found, labels)  # the nearest is the sample itself


@pytest.mark.parametrize('temperature', [0.01, 0.005, 0.001])
def test_far_neighbours_vote_at_any_temperature(temperature):
    # Without a neighbour near, each weight exp((s - 1) / temperature) is zero in float32.
    (train, labels), (test, _) = _split(0, 200, k=60), _split(1, 50, k=60)
    (found,) = knn_predict(train, labels, test, num_classes=3, rules=(VotingRule(20, temperature),))
    cosine = _unit(test).astype(np.float64) @ _unit(train).T
    votes = np.zeros((len(test), 3))
    for row, nearest in enumerate(np.argsort(-cosine, axis=1)[:, :20]):
        weights = np.exp((cosine[row, nearest] - cosine[row].max()) / temperature)
        np.add.at(votes[row], labels[nearest], weights)
    assert cosine.max() < 0.8
    np.testing.assert_array_equal(found, votes.argmax(axis=1))


@pytest.mark.parametrize('rule', [VotingRule(0), VotingRule(3, 0.0), VotingRule(3, -0.1)])
def test_a_rule_that_no_neighbour_fits_is_refused(rule):
    rows, labels = np.eye(4, dtype=np.float32), np.arange(4, dtype=np.int32)
    with pytest.raises(ValueError, match='needs at least 1 neighbour'):
        knn_predict(rows, labels, rows, num_classes=4, rules=(rule,))
