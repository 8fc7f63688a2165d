from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from contrastive_jax.evaluation import blocks, linear
from contrastive_jax.evaluation.blocks import lay_out
from contrastive_jax.evaluation.whitening import second_moment, span, standardise, whitening_matrix


def _classes(seed, n, k=6, c=3, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    centres = np.random.default_rng(99).normal(size=(c, k))
    features = centres[labels] + noise * rng.normal(size=(n, k))
    return features.astype(np.float32), labels.astype(np.int32)


def _laid_out(features, labels):
    (laid_out,) = lay_out([(features, labels)], 3)
    return laid_out, np.asarray(second_moment([laid_out]))


def _fit(features, labels, l2):
    laid_out, moment = _laid_out(features, labels)
    return linear.fit([laid_out], jnp.float32(l2), whitening_matrix(moment, l2, 3), num_classes=3)


def _loss(params, features, labels, l2):
    weight, features = (np.asarray(x, np.float64) for x in (params.weight, features))
    scores = features @ weight + np.asarray(params.bias, np.float64)
    log_sum = np.log(np.exp(scores).sum(axis=1))
    own = scores[np.arange(len(features)), labels]
    return np.mean(log_sum - own) + l2 / 2 * np.sum(weight**2)


def _best(features, labels, l2):
    return LogisticRegression(C=1 / (l2 * len(labels)), max_iter=5000, tol=1e-10).fit(
        features.astype(np.float64), labels
    )


@pytest.mark.parametrize('l2', [1e-1, 1e-2, 1e-3])
def test_fit_agrees_with_scikit_learn(l2):
    features, labels = _classes(0, 200)
    ours, theirs = _fit(features, labels, l2), _best(features, labels, l2)
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, atol=2e-3)
    # A shift of all biases changes no probability.
    bias = ours.bias - ours.bias.mean()
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)
    assert int(linear.correct(ours, features, labels)) == round(
        200 * theirs.score(features, labels)
    )


# Of 201 samples in blocks of 24 or 33, or 51 on each of four devices, the last ones are filled up.
@pytest.mark.parametrize(
    ('spread', 'logits', 'shape'),
    [(0, 1 << 26, (1, 4, 51)), (0, 99, (2, 4, 26)), (1 << 30, 99, (7, 1, 29))],
)
def test_blocks_and_devices_change_no_fit(monkeypatch, spread, logits, shape):
    features, labels = _classes(0, 201)
    whole, moment = _laid_out(features, labels)
    monkeypatch.setattr(blocks, '_SPREAD_BYTES', spread)
    monkeypatch.setattr(blocks, '_BLOCK_LOGITS', logits)
    parts, other = _laid_out(features, labels)
    assert parts.labels.shape == shape
    assert len(parts.features.sharding.device_set) == shape[1]
    np.testing.assert_allclose(other, moment, rtol=1e-5, atol=1e-6)
    white = whitening_matrix(moment, 1e-3, 3)
    expected = linear.fit([whole], jnp.float32(1e-3), white, num_classes=3).weight
    found = linear.fit([parts], jnp.float32(1e-3), white, num_classes=3).weight
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_parts_of_any_size_lie_on_the_same_devices(monkeypatch):
    features, labels = _classes(0, 201)
    # The second part alone would stay on one device.
    monkeypatch.setattr(blocks, '_SPREAD_BYTES', 4 * 6 * 100)
    cut = [(features[part], labels[part]) for part in (slice(198), slice(198, None))]
    parts = lay_out(cut, 3)
    assert [part.labels.shape for part in parts] == [(1, 4, 50), (1, 4, 1)]
    moment = np.asarray(second_moment(parts))
    np.testing.assert_allclose(moment, features.T @ features / 201, rtol=1e-4, atol=1e-5)
    found = linear.fit(parts, jnp.float32(1e-3), whitening_matrix(moment, 1e-3, 3), num_classes=3)
    np.testing.assert_allclose(found.weight, _fit(features, labels, 1e-3).weight, atol=2e-3)


@pytest.mark.parametrize('spread', [0, 1 << 30])
def test_a_part_that_is_not_used_is_as_if_it_were_not_there(monkeypatch, spread):
    features, labels = _classes(0, 201)
    monkeypatch.setattr(blocks, '_SPREAD_BYTES', spread)
    # Not even a NaN of it counts.
    parts = lay_out([(features, labels), (np.full((8, 6), np.nan, np.float32), labels[:8])], 3)
    given = jnp.float32(1e-3), whitening_matrix(np.asarray(second_moment(parts[:1])), 1e-3, 3)
    fit = partial(linear.fit, num_classes=3)
    found = fit(parts, *given, used=jnp.array([True, False]))
    expected = fit(parts[:1], *given)
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-4)
    swapped = fit(parts[::-1], *given, used=jnp.array([False, True]))
    np.testing.assert_allclose(swapped.weight, expected.weight, atol=1e-4)
    assert np.isnan(fit(parts, *given, used=jnp.array([True, True])).weight).any()


@pytest.mark.parametrize('spread', [0, 1 << 30])
def test_no_fit_holds_the_logits_of_all_samples_or_its_features_twice(monkeypatch, spread):
    features, labels = _classes(0, 4096, k=16)
    labels = np.arange(4096, dtype=np.int32) % 64
    monkeypatch.setattr(blocks, '_SPREAD_BYTES', spread)

    def bytes_held():
        fitted_on = lay_out([(features, labels)], 64)
        compiled = linear.fit.lower(
            fitted_on, jnp.float32(1e-3), np.eye(16, dtype=np.float32), num_classes=64
        ).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    on_each = 4096 // (1 if spread else 4)
    whole = bytes_held()
    assert whole > 4 * on_each * 64
    monkeypatch.setattr(blocks, '_BLOCK_LOGITS', on_each * 64 // 16)
    # Weights, and their last steps, take the rest.
    weights = 4 * 64 * 16 * 40
    assert bytes_held() < 4 * on_each * 16 + weights
    assert bytes_held() < whole / 2 + weights


def test_held_out_samples_are_classified_by_probes_of_every_strength(compiled):
    rng = np.random.default_rng(0)
    # Useless dimensions, so that the strength matters.
    features, labels = _classes(1, 150, noise=2.0)
    features = np.concatenate([features, rng.normal(size=(150, 40)).astype(np.float32)], axis=1)
    kept = np.arange(150) >= 45
    train, held_out = ((features[part], labels[part]) for part in (kept, ~kept))
    theirs = [_best(*train, l2).predict(held_out[0]) == held_out[1] for l2 in linear.STRENGTHS]
    assert len({hits.sum() for hits in theirs}) > 1
    laid_out, moment = _laid_out(*train)
    whitenings = {l2: whitening_matrix(moment, l2, 3) for l2 in linear.STRENGTHS}
    ours, fits = linear.try_strengths([laid_out], whitenings, held_out, num_classes=3)
    assert compiled['fit'] == 1
    # A sample between two classes may go to either.
    assert np.sum(ours != np.array(theirs)) <= 2
    # Where a fit begins does not change where it ends. Nearly without a penalty, classes that a
    # plane separates leave the objective flat at its minimum.
    for l2, warm in zip(linear.STRENGTHS, fits, strict=True):
        best = _best(*train, l2)
        least = _loss(linear.Linear(best.coef_.T, best.intercept_), *train, l2)
        losses = [_loss(fitted, *train, l2) for fitted in (warm, _fit(*train, l2))]
        assert losses[0] == pytest.approx(losses[1], abs=2e-5)
        assert max(losses) < least + (2e-5 if l2 > 1e-5 else 1e-4)


def test_standardise_uses_the_training_split_alone():
    train = np.array([[0.0, 5.0], [2.0, 5.0]], np.float32)
    test = np.array([[4.0, 6.0]], np.float32)
    one, other = standardise(train, test)
    np.testing.assert_allclose(one, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(other, [[3, 0]])
    np.testing.assert_array_equal(train, [[0, 5], [2, 5]])


@pytest.mark.parametrize('value', [128 / 255, 26 / 255, 1e4 / 3])
def test_a_feature_that_is_constant_in_training_is_zero_everywhere(value):
    # Added up in float32, so many equal numbers have another mean, which looks like a deviation.
    train = np.random.default_rng(0).normal(size=(30_000, 2)).astype(np.float32)
    train[:, 1] = value
    test = train[:10] + np.float32(0.3)
    for rows in standardise(train, test):
        np.testing.assert_array_equal(rows[:, 1], 0)


def test_the_scale_of_a_feature_does_not_matter():
    train = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for one, other in zip(
        standardise(train, train[:5]), standardise(train * 1e-15, train[:5] * 1e-15), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_span_keeps_directions_that_are_a_thousandth_of_the_longest():
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    train = np.ones((20, 60)) * rng.normal(size=(20, 1)) * 30
    train = (train + 1e-2 * (labels[:, None] - 0.5) * rng.choice([-1, 1], 60)).astype(np.float32)
    turned, _ = span(train, train)
    weights = np.linalg.lstsq(turned, labels - 0.5)[0]
    np.testing.assert_allclose(turned @ weights, labels - 0.5, atol=0.02)


def test_few_labels_are_few_and_balanced():
    _, labels = _classes(0, 300)
    drawn = linear.draw_few_labels(labels, 2, 4)
    np.testing.assert_array_equal(labels[drawn], [[0, 0, 1, 1, 2, 2]] * 4)
    assert all(len(np.unique(draw)) == 6 for draw in drawn)
    assert len({tuple(draw) for draw in drawn}) == 4
    np.testing.assert_array_equal(linear.draw_few_labels(labels, 2, 4), drawn)
    # A class that no sample has takes no place.
    assert linear.draw_few_labels(2 * labels, 2, 4).shape == (4, 6)


@pytest.mark.ci
def test_more_labels_are_better():
    (features, labels), test = _classes(0, 300), _classes(1, 200)
    _, moment = _laid_out(features, labels)
    white = whitening_matrix(moment, linear.FEW_LABEL_L2, 3)
    few, many = (
        linear.few_label_accuracies((features[drawn], labels[drawn]), white, test, num_classes=3)
        for drawn in (linear.draw_few_labels(labels, count, 4) for count in (2, 40))
    )
    assert few.shape == many.shape == (4,)
    assert few.mean() < many.mean()


@pytest.mark.parametrize('n', [12, 60])
def test_neither_the_span_nor_the_whitening_changes_a_score(n):
    train, labels = _classes(2, n, k=20)
    train[:, 3], train[:, 4] = 0.0, train[:, 5]  # A constant feature and a repeated one.
    test, _ = _classes(3, 30, k=20)
    turned = span(train, test)
    assert turned[0].shape == (n, min(n, 20))
    np.testing.assert_allclose(turned[0] @ turned[0].T, train @ train.T, rtol=1e-4, atol=1e-3)
    best = _best(train, labels, 1e-2)
    least = _loss(linear.Linear(best.coef_.T, best.intercept_), train, labels, 1e-2)
    for rows, others in ((train, test), turned):
        fitted = _fit(rows, labels, 1e-2)
        assert _loss(fitted, rows, labels, 1e-2) == pytest.approx(least, abs=2e-5)
        predicted = np.asarray(linear.predict(fitted, others))
        np.testing.assert_array_equal(predicted, best.predict(test))


@pytest.mark.parametrize('l2', [1e-1, 1e-5])
def test_whitened_weights_have_a_curvature_of_one(l2):
    rng = np.random.default_rng(0)
    features, labels = _classes(0, 500, k=40)
    features = features * 10.0 ** -rng.integers(0, 3, 40).astype(np.float32)
    _, moment = _laid_out(features, labels)
    white = whitening_matrix(moment, l2, 3)
    # A fit solves for its start with this triangle.
    np.testing.assert_array_equal(np.tril(white, -1), 0)
    curvature = white.T.astype(np.float64) @ (moment / 3 + l2 * np.eye(40)) @ white
    # The weakest directions lack as much as float32 leaves unknown of them.
    unknown = np.finfo(np.float32).eps * np.trace(moment) / 3 / l2
    np.testing.assert_allclose(curvature, np.eye(40), atol=unknown + 1e-5)


def test_a_moment_with_rounding_errors_is_whitened():
    moment = np.diag([1.0, -1e-4, 1e-3]).astype(np.float32)
    white = whitening_matrix(moment, 1e-5, 2)
    assert np.all(np.isfinite(white))
    # What the moment resolves is scaled to one all the same.
    assert white[0, 0] == pytest.approx(2**0.5, rel=1e-3)


def test_a_warm_start_is_where_the_fit_before_ended(monkeypatch):
    features, labels = _classes(0, 200)
    laid_out, moment = _laid_out(features, labels)
    given = jnp.float32(1e-3), whitening_matrix(moment, 1e-3, 3)
    end = linear.fit([laid_out], *given, num_classes=3)
    monkeypatch.setattr(linear, '_MAX_STEPS', 0)
    linear.fit.clear_cache()
    try:
        again = linear.fit([laid_out], *given, num_classes=3, start=end)
    finally:
        linear.fit.clear_cache()
    np.testing.assert_allclose(again.weight, end.weight, rtol=1e-4, atol=1e-5)
