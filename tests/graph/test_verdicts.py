import numpy as np
import pytest

from contrastive_jax.graph.verdicts import VERDICTS, judge, label_margin, robust_z


def test_the_robust_score_of_a_normal_sample_is_its_deviation():
    values = np.random.default_rng(0).normal(3, 2, size=200_001)
    z = robust_z(values)
    np.testing.assert_allclose(z, (values - 3) / 2, atol=0.05)


def test_a_value_among_equal_ones_is_far():
    z = robust_z(np.array([1.0] * 98 + [2, 0]))
    # The mean distance is 0.02.
    np.testing.assert_allclose(z, [0] * 98 + [39.894, -39.894], rtol=1e-4)
    assert robust_z(np.ones(5)).tolist() == [0] * 5


def test_the_form_changes_where_more_than_half_are_equal():
    # Half of the values are 1: the median distance is 0.5.
    np.testing.assert_allclose(robust_z(np.array([1.0, 1, 1, 0, 2, 3]))[5], 2 * 0.6745 / 0.5)
    # Three of five: it is 0, and the mean distance 0.4.
    np.testing.assert_allclose(
        robust_z(np.array([1.0, 1, 1, 0, 2]))[4], 1 / (0.4 * 1.2533), rtol=1e-4
    )


def test_rounding_of_cosines_makes_no_outlier():
    # Mutual nearest pairs have isolation 0 but for rounding, and more than half are such pairs.
    rounding = 1e-7 * np.random.default_rng(0).normal(size=200)
    isolation = np.where(np.arange(200) < 180, rounding, 0.1).astype(np.float32)
    found = judge(
        np.linspace(0, 1, 200), isolation, np.full(200, 0.5), np.zeros((200, 1), np.int64)
    )
    assert (np.abs(found.outlier_z[:180]) < 1).all()
    assert (found.outlier_z[180:] > 3.5).all()
    # And one pair of opposite samples has a similarity of -1.
    with np.errstate(all='raise'):
        pair = np.zeros(2)
        judge(pair, pair, np.full(2, -1.0, np.float32), np.array([[1], [0]]))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_differences_by_rounding_are_none(dtype):
    values = np.array([0, 1e-40, 1e-40, 2e-40, 1], dtype)
    z = robust_z(values)
    assert np.isfinite(z).all()
    assert (np.abs(z[:4]) < 1).all()
    assert z[4] > 1


def test_the_margin_of_a_label():
    labels = np.array([0, 0, 0, 1, 1, 1, -1])
    nearest = np.array([[1, 2], [0, 2], [3, 4], [4, 5], [3, 5], [3, 4], [0, 1]])
    # Among the neighbours of class 0 two thirds are of it, of class 1 all.
    margin = label_margin(nearest, labels)
    np.testing.assert_allclose(margin[:6], [-1, -1, 1, -1, -1, -1])
    assert np.isnan(margin[6])


def test_another_class_has_to_be_as_common_as_among_its_own():
    # The neighbours of 0 are half of class 1, whose own have only their own.
    labels = np.array([0, 0, 1, 1, 1])
    nearest = np.array([[1, 2], [0, 0], [3, 4], [2, 4], [2, 3]])
    assert label_margin(nearest, labels)[0] == 0


def test_a_neighbour_without_a_label_speaks_for_no_class():
    labels = np.array([0, 0, 1, 1, -1])
    nearest = np.array([[1, 4], [0, 4], [3, 4], [2, 4], [0, 1]])
    np.testing.assert_allclose(label_margin(nearest, labels)[:4], -0.5)


def test_the_most_specific_reason_counts():
    n = 100
    rng = np.random.default_rng(0)
    score = np.linspace(0, 1, n)
    isolation = rng.normal(size=n)
    similarity = 0.5 + 0.05 * rng.random(n)
    nearest = (np.arange(n)[:, None] // 2 * 2 + 1 - np.arange(n)[:, None] % 2).repeat(3, axis=1)
    labels = np.arange(n) // 2
    labels[[10, 11, 98, 99]] = [5, 6, 49, 49]
    isolation[97] = 100
    similarity[[98, 99]] = 1
    labels[98] = 7
    found = judge(score, isolation, similarity, nearest, labels)
    names = [VERDICTS[code] for code in found.verdict]
    assert names[98:] == ['near-duplicate', 'near-duplicate']
    assert names[97] == 'outlier'
    assert set(names[80:97]) == {'between classes'}
    assert names[:10] == ['easy'] * 10
    assert found.label_margin[98] > 0
    without = judge(score, isolation, similarity, nearest)
    assert np.isnan(without.label_margin).all()
    assert np.isnan(without.label_z).all()
    assert 'label suspect' not in {VERDICTS[code] for code in without.verdict}


def _said_of_labels(share_of_another_class):
    """Verdicts where a tenth of the labels is wrong, and neighbours of another class occur."""
    n, classes, count = 600, 3, 20
    rng = np.random.default_rng(0)
    truth = np.arange(n) % classes
    of_class = [np.flatnonzero(truth == code) for code in range(classes)]
    other = rng.random((n, count)) < share_of_another_class
    codes = (truth[:, None] + other * rng.integers(1, classes, (n, count))) % classes
    nearest = np.array([[rng.choice(of_class[code]) for code in row] for row in codes])
    labels = truth.copy()
    labels[: n // 10] = (labels[: n // 10] + 1) % classes
    same = np.full(n, 0.5)
    said = judge(same, same, same, nearest, labels)
    return said.verdict == VERDICTS.index('label suspect'), said


def test_wrong_labels_are_suspect_where_neighbours_are_of_one_class():
    suspect, _ = _said_of_labels(0)
    assert suspect[:60].mean() > 0.75
    assert not suspect[60:].any()


def test_no_label_is_suspect_where_neighbours_are_of_any_class():
    suspect, said = _said_of_labels(2 / 3)
    disagree = np.sum(said.label_margin > 0)
    assert disagree > 0.3 * len(suspect)
    assert suspect.sum() < 0.05 * disagree


def test_labels_that_are_not_known_are_judged_by_nobody():
    nearest = np.array([[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4], [0, 1]])
    labels = np.array([0, 0, 0, 1, 1, 1, -1])
    same = np.full(7, 0.5)
    known = judge(same[:6], same[:6], same[:6], nearest[:6], labels[:6])
    found = judge(same, same, same, nearest, labels)
    assert np.isnan(found.label_z[6])
    np.testing.assert_array_equal(found.label_z[:6], known.label_z)


def test_scores_that_are_equal_have_one_verdict():
    score = np.array([0.9, 0.8, 0.8, 0.8, *np.linspace(0.1, 0.5, 6)])
    flat = np.zeros(len(score))
    found = judge(score, flat, flat, np.zeros((len(score), 1), int), None)
    # Two of ten are the hardest fifth, and the second could be any of three.
    assert found.verdict.tolist() == [VERDICTS.index('between classes')] + 9 * [0]


@pytest.mark.parametrize('n', [1, 2, 5])
def test_few_or_equal_samples_are_easy(n):
    same = np.full(n, 0.5)
    found = judge(same, same, same, np.zeros((n, 1), int), np.zeros(n, int))
    assert (found.verdict == 0).all()
