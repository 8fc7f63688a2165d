import math
import re
from fractions import Fraction

import numpy as np
import pytest

from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.theory import SimilarityModel, adjacency, estimate, fitted_model


def reference(features, labels, pos_high, pos_low, images=None):
    """Pair by pair, in plain Python: alpha, beta, gamma, share; `images` may repeat."""
    images = range(len(features)) if images is None else images
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    kinds = {'same': [], 'difficult': [], 'easy': []}
    for i in images:
        others = [(float(np.dot(unit[i], unit[j])), j) for j in images if j != i]
        order = sorted((cosine for cosine, _ in others), reverse=True)
        ranks = [math.ceil(Fraction(str(q)) * len(order)) for q in (pos_high, pos_low)]
        high, low = (order[rank - 1] if rank else math.inf for rank in ranks)
        for cosine, j in others:
            same = cosine >= high if labels is None else labels[i] == labels[j]
            kind = 'same' if same else 'difficult' if cosine >= low else 'easy'
            kinds[kind].append(cosine)
    alpha, beta, gamma = (np.mean(kinds[kind]) for kind in ('same', 'easy', 'difficult'))
    different = len(kinds['difficult']) + len(kinds['easy'])
    return alpha, beta, gamma, len(kinds['difficult']) / different


def clusters(random, n=60, classes=3, k=8):
    labels = np.arange(n) % classes
    centres = random.normal(size=(classes, k))
    return centres[labels] + random.normal(size=(n, k)), labels


@pytest.mark.parametrize('with_labels', [True, False])
@pytest.mark.parametrize('percentiles', [(0.3, 0.6), (0.05, 0.95), (0.33, 0.36)])
def test_estimate_and_resample_are_the_pairwise_reference(with_labels, percentiles):
    features, labels = clusters(np.random.default_rng(0))
    labels = labels if with_labels else None
    high, low = percentiles
    found = estimate(features, labels, pos_high=high, pos_low=low, num_bootstrap=2, seed=5)[:4]
    expected = reference(features, labels, high, low)
    np.testing.assert_allclose([one.value for one in found], expected, rtol=1e-12)
    # Of two resamples the deviation is their distance over sqrt(2). No image is paired with its
    # copies.
    draws = host_rng(Use.BOOTSTRAP, 5).integers(60, size=(2, 60))
    first, second = (np.array(reference(features, labels, high, low, draw)) for draw in draws)
    width = 1.959964 * np.abs(first - second) / math.sqrt(2)
    for end, sign in (('low', -1), ('high', 1)):
        ends = [getattr(one, end) for one in found]
        np.testing.assert_allclose(ends, expected + sign * width, rtol=1e-6)


@pytest.mark.parametrize('with_labels', [True, False])
def test_recovers_the_model_that_made_the_features(with_labels):
    # All samples difficult, matched: every image sees 6 of its class, 2 partners, 12 others.
    model = SimilarityModel(3, 7, 7, 0.6, 0.1, 0.3)
    features = np.linalg.cholesky(adjacency(model, 'matched'))
    labels = np.repeat(np.arange(3), 7) if with_labels else None
    found = estimate(features, labels, pos_high=0.3, pos_low=0.4, num_bootstrap=3)
    values = (found.alpha.value, found.beta.value, found.gamma.value)
    np.testing.assert_allclose(values, (0.6, 0.1, 0.3), rtol=1e-12)
    assert found.difficult_share.value == pytest.approx(2 / 14, rel=1e-12)
    assert found.ordered
    assert found.message == ''


def test_blocks_scale_and_order_change_nothing():
    random = np.random.default_rng(1)
    features, labels = clusters(random)
    whole = estimate(features, labels, pos_high=0.3, pos_low=0.6, num_bootstrap=5)
    blocks = estimate(features, labels, pos_high=0.3, pos_low=0.6, num_bootstrap=5, block_size=7)
    scaled = estimate(1e200 * features, labels, pos_high=0.3, pos_low=0.6, num_bootstrap=5)
    order = random.permutation(60)
    shuffled = estimate(features[order], labels[order], pos_high=0.3, pos_low=0.6, num_bootstrap=5)
    for name in ('alpha', 'beta', 'gamma', 'difficult_share'):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-12)
        np.testing.assert_allclose(getattr(scaled, name), getattr(whole, name), rtol=1e-12)
        assert getattr(shuffled, name).value == pytest.approx(getattr(whole, name).value, rel=1e-12)


def test_intervals_cover_the_truth_and_narrow():
    random = np.random.default_rng(2)
    covered, widths = [], {}
    features, labels = clusters(random, n=2000)
    truth = estimate(features, labels, pos_high=0.3, pos_low=0.6, num_bootstrap=2)
    for size in (40, 160):
        widths[size] = []
        for draw in range(25):
            images = random.choice(2000, size=size, replace=False)
            found = estimate(
                features[images],
                labels[images],
                pos_high=0.3,
                pos_low=0.6,
                num_bootstrap=60,
                seed=draw,
            )
            for name in ('alpha', 'beta', 'gamma'):
                interval = getattr(found, name)
                covered.append(interval.low <= getattr(truth, name).value <= interval.high)
                widths[size].append(interval.high - interval.low)
    assert np.mean(covered) > 0.8
    assert 1.5 < np.mean(widths[40]) / np.mean(widths[160]) < 2.7


def test_intervals_cover_as_often_as_they_say():
    """Samples of a large population, at the size where the old percentiles left out the value."""
    random = np.random.default_rng(8)
    features, _ = clusters(random, n=2000)
    percentiles = {'pos_high': 0.3, 'pos_low': 0.6}
    truth = estimate(features, **percentiles, num_bootstrap=2)
    covered = []
    for draw in range(100):
        images = random.choice(2000, size=60, replace=False)
        found = estimate(features[images], **percentiles, num_bootstrap=50, seed=draw)
        for name in ('alpha', 'beta', 'gamma'):
            interval = getattr(found, name)
            covered.append(interval.low <= getattr(truth, name).value <= interval.high)
    # 300 intervals, in threes of one sample: 0.95 within three deviations of 100 draws.
    assert 0.88 <= np.mean(covered) <= 0.995


def _copies(random):
    return np.repeat(random.normal(size=(6, 4)), 5, axis=0), np.repeat(np.arange(6), 5)


def _shifted(random):
    features, labels = clusters(random)
    return features + 5, labels


def _alike(random):
    return 1 + 1e-4 * random.normal(size=(40, 3)), np.arange(40) % 4


def _unequal(random):
    labels = np.repeat(np.arange(5), [40, 10, 6, 3, 1])
    return random.normal(size=(5, 8))[labels] + random.normal(size=(60, 8)), labels


@pytest.mark.parametrize('data', [clusters, _copies, _shifted, _alike, _unequal])
@pytest.mark.parametrize('with_labels', [True, False])
@pytest.mark.parametrize('percentiles', [(0.1, 0.5), (0.3, 0.6), (0.05, 0.8)])
def test_no_value_is_outside_its_interval(data, with_labels, percentiles):
    features, labels = data(np.random.default_rng(9))
    high, low = percentiles
    found = estimate(
        features, labels if with_labels else None, pos_high=high, pos_low=low, num_bootstrap=30
    )
    for interval, least in zip(found[:4], (-1, -1, -1, 0), strict=True):
        assert interval.low <= interval.value <= interval.high
        assert min(interval.value, least) <= interval.low
        assert interval.high <= max(interval.value, 1)
        assert interval.high - interval.low < 1


def test_progress_sees_every_block():
    features, labels = clusters(np.random.default_rng(10))
    seen = []

    def progress(blocks):
        assert len(blocks) == 9
        for block in blocks:
            yield block
            seen.append(block)

    estimate(features, labels, pos_high=0.3, pos_low=0.6, block_size=7, progress=progress)
    assert seen == list(range(0, 60, 7))


def test_same_seed_same_intervals():
    features, labels = clusters(np.random.default_rng(3))
    first, again, other = (
        estimate(features, labels, pos_high=0.3, pos_low=0.6, num_bootstrap=10, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.alpha.low != other.alpha.low


def test_says_aloud_what_fails():
    random = np.random.default_rng(4)
    features, labels = clusters(random)
    wrong = estimate(
        features, random.permutation(labels), pos_high=0.1, pos_low=0.2, num_bootstrap=2
    )
    assert not wrong.ordered
    assert 'is not above gamma' in wrong.message
    with pytest.raises(ValueError, match='no model fits: alpha='):
        fitted_model(wrong, 3, 20)


def test_negative_beta_is_said_and_not_clipped():
    features, labels = clusters(np.random.default_rng(4))
    found = estimate(
        features - features.mean(axis=0), labels, pos_high=0.3, pos_low=0.8, num_bootstrap=2
    )
    assert found.ordered
    assert found.beta.value < 0
    assert found.message == f'beta={found.beta.value:.4g} is negative'
    with pytest.raises(ValueError, match='no model fits: beta=-'):
        fitted_model(found, 3, 20)


def test_features_that_are_equal_but_for_rounding_fit_no_model():
    rows = np.float32(1) + np.float32(1e-7) * np.random.default_rng(0).normal(size=(60, 8))
    found = estimate(rows.astype(np.float32), pos_high=0.1, pos_low=0.5, num_bootstrap=2)
    assert found.message.endswith('are equal to rounding')
    with pytest.raises(ValueError, match='no model fits: alpha=1 and beta=1'):
        fitted_model(found, 10, 6)


def test_fitted_model_takes_the_values():
    features, labels = clusters(np.random.default_rng(5))
    found = estimate(features + 2, labels, pos_high=0.3, pos_low=0.8, num_bootstrap=2)
    model = fitted_model(found, 3, 20)
    values = (found.alpha.value, found.beta.value, found.gamma.value)
    assert (model.alpha, model.beta, model.gamma) == values
    # The share of the pairs in the block model, up to the rounding of n_d.
    n_d = 20 * math.sqrt(found.difficult_share.value)
    assert abs(model.difficult_per_class - n_d) <= 0.5


@pytest.mark.parametrize('bad', [0.0, np.nan, np.inf])
def test_refuses_rows_without_a_direction(bad):
    features, labels = clusters(np.random.default_rng(6))
    features[17] = bad
    with pytest.raises(ValueError, match='1 of 60 rows are zero or not finite, first row 17'):
        estimate(features, labels, pos_high=0.3, pos_low=0.6)


def test_refuses_bands_and_counts_that_make_no_sense():
    features, labels = clusters(np.random.default_rng(7))
    with pytest.raises(ValueError, match='need 0 <= pos_high <= pos_low <= 1'):
        estimate(features, labels, pos_high=0.6, pos_low=0.3)
    with pytest.raises(ValueError, match="'difficult'"):
        estimate(features, None, pos_high=0.3, pos_low=0.3)
    with pytest.raises(ValueError, match="'one class'"):
        estimate(features, np.arange(60), pos_high=0.3, pos_low=0.6)
    with pytest.raises(ValueError, match="'easy'"):
        estimate(features, None, pos_high=0.3, pos_low=1.0)
    for count in (0, 1):  # One resample has no deviation.
        with pytest.raises(ValueError, match=f'num_bootstrap={count}: must be at least 2'):
            estimate(features, labels, pos_high=0.3, pos_low=0.6, num_bootstrap=count)
    with pytest.raises(ValueError, match='no pair counts as'):
        estimate(features[:1], None, pos_high=0.3, pos_low=0.6)


@pytest.mark.usefixtures('unchecked_types')
@pytest.mark.parametrize(
    ('rows', 'labels', 'words'),
    [
        (12, np.zeros(11, int), 'labels of shape (11,), type int64: need (12,) integers'),
        (12, np.zeros((12, 1), int), 'labels of shape (12, 1), type int64: need (12,) integers'),
        (12, np.full(12, np.nan), 'labels of shape (12,), type float64: need (12,) integers'),
        (0, None, 'features of shape (0, 3): need [n, k]'),
    ],
)
def test_what_is_no_data_set_is_refused(rows, labels, words):
    features = np.random.default_rng(0).normal(size=(rows, 3))
    with pytest.raises(ValueError, match=re.escape(words)):
        estimate(features, labels, pos_high=0.1, pos_low=0.5)
