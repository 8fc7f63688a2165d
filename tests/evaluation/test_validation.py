from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from contrastive_jax.evaluation import linear, probe
from contrastive_jax.evaluation.validation import cross_fitted, hold_out
from tests.helpers import labelled_rows, small_config

_noisy = partial(labelled_rows, noise=1.5)


@pytest.mark.parametrize('share', [0.01, 0.1, 0.3, 0.5])
def test_each_class_gives_its_part(share):
    labels = np.repeat(np.arange(5), (1, 4, 40, 200, 1000))
    kept, held_out = hold_out(labels, share)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))
    parts = np.bincount(labels[held_out], minlength=5)
    assert parts[0] == 0
    assert (np.abs(parts[1:] - share * np.array([4, 40, 200, 1000])) < 1).all()
    np.testing.assert_array_equal(hold_out(labels, share)[1], held_out)


def test_many_small_classes_are_held_out_from_too():
    labels = np.repeat(np.arange(100), 4)
    _, held_out = hold_out(labels, 0.1)
    assert 39 <= len(held_out) <= 41
    assert len(set(labels[held_out])) == len(held_out)


def test_a_few_samples_give_one_and_classes_of_one_give_none():
    labels = np.array([3, 5, 5, 7])
    kept, held_out = hold_out(labels, 0.01)
    assert labels[held_out].tolist() == [5]
    assert len(kept) == 3
    assert len(hold_out(np.arange(4), 0.5)[1]) == 0


def test_the_strength_of_a_half_is_chosen_by_the_other():
    # The first strength is right on the even samples, the second on the odd ones.
    even = np.arange(10) % 2 == 0
    assert cross_fitted(np.stack([even, ~even])) == 0.0
    assert cross_fitted(np.stack([np.ones(10, bool), even])) == 1.0
    # One sample: the strongest, by no sample of the empty half.
    assert cross_fitted(np.array([[True], [False]])) == 1.0


def test_validation_is_that_of_probes_fitted_on_the_rest():
    (features, labels), test = _noisy(0, 300), _noisy(1, 60)
    options = small_config(probe__validation_share=0.3, probe__neighbours=5).probe
    found = probe(
        (features, labels), test, num_classes=3, options=options, validate=True
    ).validation
    kept, held_out = hold_out(labels, 0.3)
    standard = (features - features.mean(0)) / features.std(0)
    hits = np.stack(
        [
            LogisticRegression(C=1 / (l2 * len(kept)), max_iter=5000, tol=1e-8)
            .fit(standard[kept].astype(np.float64), labels[kept])
            .predict(standard[held_out])
            == labels[held_out]
            for l2 in linear.STRENGTHS
        ]
    )
    assert 0.7 < hits.mean() < 0.98
    assert found.linear == pytest.approx(cross_fitted(hits), abs=1.5 / len(held_out))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    theirs = KNeighborsClassifier(20).fit(unit[kept], labels[kept])
    assert found.knn20 == pytest.approx(theirs.score(unit[held_out], labels[held_out]), abs=0.012)
    assert 0.5 < found.few_label < 1


def test_held_out_samples_are_not_their_own_neighbours():
    (features, labels), test = _noisy(0, 300), _noisy(1, 60)
    options = small_config(probe__validation_share=0.3, probe__neighbours=1).probe
    measured = probe((features, labels), test, num_classes=3, options=options, validate=True)
    kept, held_out = hold_out(labels, 0.3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    theirs = KNeighborsClassifier(1).fit(unit[kept], labels[kept])
    accuracy = theirs.score(unit[held_out], labels[held_out])
    assert accuracy < 0.9
    assert measured.validation.knn == pytest.approx(accuracy)


def test_no_test_sample_has_a_say_in_validation():
    train = _noisy(0, 120)
    options = small_config().probe
    found = [
        probe(train, (seed * features, labels), num_classes=3, options=options, validate=True)
        for seed, (features, labels) in ((1.0, _noisy(1, 30)), (7.0, _noisy(2, 30)))
    ]
    assert found[0].validation == found[1].validation
    assert found[0].linear != found[1].linear


@pytest.mark.ci
def test_too_few_samples_for_a_draw_leave_that_accuracy_out():
    labels = np.repeat(np.arange(3, dtype=np.int32), 4)
    features = np.eye(4, dtype=np.float32)[labels]
    options = small_config(probe__validation_share=0.5, probe__labels_per_class=3).probe
    train = (features, labels)
    found = probe(train, train, num_classes=3, options=options, validate=True)
    assert found.validation.few_label is None
    assert found.validation.linear == 1.0
    assert probe(train, train, num_classes=3, options=options).validation is None
