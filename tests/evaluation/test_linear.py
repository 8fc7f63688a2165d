import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from contrastive_jax.evaluation import linear


def _classes(seed, n, k=6, c=3, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    centres = np.random.default_rng(99).normal(size=(c, k))
    features = centres[labels] + noise * rng.normal(size=(n, k))
    return features.astype(np.float32), labels.astype(np.int32)


@pytest.mark.parametrize('l2', [1e-1, 1e-2, 1e-3])
def test_fit_agrees_with_scikit_learn(l2):
    features, labels = _classes(0, 200)
    ours = linear.fit(features, labels, jnp.float32(l2), num_classes=3)
    theirs = LogisticRegression(C=1 / (l2 * 200), max_iter=5000, tol=1e-10).fit(
        features.astype(np.float64), labels
    )
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, atol=2e-3)
    # A shift of all biases changes no probability.
    bias = ours.bias - ours.bias.mean()
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)
    assert int(linear.correct(ours, features, labels)) == round(
        200 * theirs.score(features, labels)
    )


def test_held_out_samples_are_classified_by_probes_of_every_strength():
    rng = np.random.default_rng(0)
    # Useless dimensions, so that the strength matters.
    features, labels = _classes(1, 150, noise=2.0)
    features = np.concatenate([features, rng.normal(size=(150, 40)).astype(np.float32)], axis=1)
    train, held_out = (features[45:], labels[45:]), (features[:45], labels[:45])
    theirs = [
        LogisticRegression(C=1 / (l2 * 105), max_iter=5000, tol=1e-8)
        .fit(train[0].astype(np.float64), train[1])
        .predict(held_out[0])
        == held_out[1]
        for l2 in linear.STRENGTHS
    ]
    assert len({hits.sum() for hits in theirs}) > 1
    ours, fits = linear.try_strengths(train, held_out, num_classes=3)
    # A sample between two classes may go to either.
    assert np.sum(ours != np.array(theirs)) <= 2
    # Where a fit begins does not change where it ends.
    for l2, warm in zip(linear.STRENGTHS, fits, strict=True):
        cold = linear.fit(*map(jnp.asarray, train), jnp.float32(l2), num_classes=3)
        losses = [_loss(fitted, *train, l2) for fitted in (warm, cold)]
        assert losses[0] == pytest.approx(losses[1], abs=2e-5)


def test_standardise_uses_the_training_split_alone():
    train = np.array([[0.0, 5.0], [2.0, 5.0]], np.float32)
    test = np.array([[4.0, 6.0]], np.float32)
    one, other = linear.standardise(train, test)
    np.testing.assert_allclose(one, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(other, [[3, 0]])


def test_few_labels_are_few_and_balanced(monkeypatch):
    train, test = _classes(0, 300), _classes(1, 200)
    seen = []
    original = linear.fit

    def spy(features, labels, l2, *, num_classes):
        seen.append(labels.shape)
        return original(features, labels, l2, num_classes=num_classes)

    monkeypatch.setattr(linear, 'fit', spy)
    options = {'num_classes': 3, 'draws': 4}
    few = linear.few_label_accuracies(train, test, labels_per_class=2, **options)
    many = linear.few_label_accuracies(train, test, labels_per_class=40, **options)
    assert few.shape == many.shape == (4,)
    assert seen[0] == (6,)
    assert few.mean() < many.mean()
    again = linear.few_label_accuracies(train, test, labels_per_class=2, **options)
    np.testing.assert_array_equal(few, again)


@pytest.mark.parametrize('n', [12, 60])
def test_principal_axes_change_no_score(n):
    train, labels = _classes(2, n, k=20)
    train[:, 3], train[:, 4] = 0.0, train[:, 5]  # A constant feature and a repeated one.
    test, _ = _classes(3, 30, k=20)
    turned = linear.principal_axes(train, test)
    assert turned[0].shape == (n, min(n, 20))
    np.testing.assert_allclose(turned[0] @ turned[0].T, train @ train.T, rtol=1e-4, atol=1e-3)
    plain, again = (
        linear.fit(features, labels, jnp.float32(1e-2), num_classes=3)
        for features in (train, turned[0])
    )
    losses = [
        _loss(params, rows, labels, 1e-2) for params, rows in ((plain, train), (again, turned[0]))
    ]
    best = LogisticRegression(C=1 / (1e-2 * n), max_iter=5000, tol=1e-10).fit(
        train.astype(np.float64), labels
    )
    least = _loss(linear.Linear(best.coef_.T, best.intercept_), train, labels, 1e-2)
    np.testing.assert_allclose(losses, least, atol=2e-5)
    one, other = (
        np.argmax(rows @ np.asarray(params.weight) + np.asarray(params.bias), axis=1)
        for params, rows in ((plain, test), (again, np.asarray(turned[1])))
    )
    np.testing.assert_array_equal(one, other)


def _loss(params, rows, labels, l2):
    weight, rows = np.asarray(params.weight, np.float64), np.asarray(rows, np.float64)
    scores = rows @ weight + np.asarray(params.bias, np.float64)
    log_sum = np.log(np.exp(scores).sum(axis=1))
    own = scores[np.arange(len(rows)), labels]
    return np.mean(log_sum - own) + l2 / 2 * np.sum(weight**2)
