import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from contrastive_jax.ebt.verifier import figures, measure, pairs, rerank
from contrastive_jax.ebt.verifier.comparison import make_split
from contrastive_jax.ebt.verifier.encoding import Bank
from contrastive_jax.ebt.verifier.networks import Encoded
from contrastive_jax.ebt.verifier.pairs import band_pairs, mutual_neighbours, nearest_pairs, thinned
from contrastive_jax.ebt.verifier.rerank import k_reciprocal
from contrastive_jax.ebt.verifier.scores import energy_scores
from contrastive_jax.graph import sample_difficulty
from contrastive_jax.numerics import host_unit_rows

UNIT = host_unit_rows(np.random.default_rng(0).standard_normal((41, 6))).astype(np.float32)


def test_the_whole_band_is_that_of_the_graph():
    pairs = band_pairs(UNIT, np.arange(41), pos_high=0.1, pos_low=0.3, count=99)
    found = sample_difficulty(UNIT, pos_high=0.1, pos_low=0.3, center=False)
    # A threshold belongs to what is above it: high to the top, low to the band.
    assert pairs.partners.shape[1] == 8
    np.testing.assert_allclose(pairs.cosine.mean(axis=1), found.gamma, rtol=1e-5, atol=1e-6)


def test_partners_are_others_spread_evenly_by_rank():
    whole = band_pairs(UNIT, np.array([3, 7]), pos_high=0.1, pos_low=0.5, count=16)
    some = band_pairs(UNIT, np.array([3, 7]), pos_high=0.1, pos_low=0.5, count=4)
    np.testing.assert_array_equal(some.partners, whole.partners[:, [2, 6, 10, 14]])
    np.testing.assert_equal(thinned(whole, 4), some)
    cosines = np.sum(UNIT[some.anchors][:, None] * UNIT[some.partners], axis=-1)
    np.testing.assert_allclose(cosines, some.cosine, rtol=1e-5, atol=1e-6)
    nearest = nearest_pairs(UNIT, np.arange(41), 3)
    assert not np.any(nearest.partners == np.arange(41)[:, None])
    assert np.all(np.diff(nearest.cosine, axis=1) <= 0)


def test_mutual_neighbours_have_each_other_among_theirs():
    nearest, mutual = mutual_neighbours(UNIT, 4)
    for i, (partners, marks) in enumerate(zip(nearest, mutual, strict=True)):
        assert i not in partners
        assert marks.tolist() == [i in nearest[j] for j in partners]
    assert 0 < mutual.mean() < 1


def test_mutual_neighbours_are_compared_in_blocks(monkeypatch):
    monkeypatch.setattr(pairs, '_BLOCK', 16)
    unit = host_unit_rows(np.random.default_rng(8).standard_normal((1500, 8))).astype(np.float32)
    tracemalloc.start()
    try:
        nearest, mutual = mutual_neighbours(unit, 40)
        # The neighbours of all neighbours take 8 n s^2 bytes.
        assert tracemalloc.get_traced_memory()[1] < 4 * 1500 * 40**2
    finally:
        tracemalloc.stop()
    for i in (0, 700, 1499):
        assert mutual[i].tolist() == [i in nearest[j] for j in nearest[i]]


@pytest.mark.parametrize(('high', 'low', 'message'), [(0.2, 0.2, 'widen'), (0.3, 0.2, 'pos_high')])
def test_an_empty_band_is_refused(high, low, message):
    with pytest.raises(ValueError, match=message):
        band_pairs(UNIT, np.arange(3), pos_high=high, pos_low=low, count=4)


def test_without_residual_the_score_is_system_1s():
    nothing = np.zeros((41, 4))
    band = {'pos_high': 0.1, 'pos_low': 0.3}
    options = band | {'temperature': 0.5}
    found = energy_scores(UNIT, nothing, nothing, nothing, nothing, **options)
    first = sample_difficulty(UNIT, **band)
    np.testing.assert_allclose(found['score'], first.score, rtol=1e-4, atol=1e-5)
    harder = energy_scores(UNIT, nothing - 1, nothing, nothing, nothing, **options)
    np.testing.assert_allclose(
        harder['score'] - found['score'], 0.5 / (first.alpha - first.beta), rtol=1e-4
    )


def test_k_reciprocal_prefers_shared_neighbours():
    rng = np.random.default_rng(1)
    centres = np.repeat(np.eye(2), 15, axis=0)
    unit = host_unit_rows(centres + 0.3 * rng.standard_normal((30, 2)))
    i, j = np.triu_indices(30, 1)
    same = (i < 15) == (j < 15)
    found = k_reciprocal(unit, i, j, k1=10, k2=3)
    np.testing.assert_allclose(found, k_reciprocal(unit, j, i, k1=10, k2=3), rtol=1e-6)
    assert roc_auc_score(same, found) >= roc_auc_score(same, np.sum(unit[i] * unit[j], axis=1))
    itself = k_reciprocal(unit, i[:1], i[:1], k1=10, k2=3)
    np.testing.assert_allclose(itself, 0, atol=1e-6)


def _dense_k_reciprocal(unit, i, j, *, k1=20, k2=6, weight=0.3):
    """All n rows of V, each of n numbers."""
    k1, k2 = min(k1, len(unit) - 1), min(k2, len(unit))
    distance = 1 - unit @ unit.T
    order = np.argsort(distance, axis=1, kind='stable')

    def mutual(k):
        near = np.zeros(order.shape, bool)
        np.put_along_axis(near, order[:, : k + 1], True, axis=1)
        np.fill_diagonal(near, True)
        return near & near.T

    own, closer = mutual(k1), mutual(max(1, round(k1 / 2)))
    rows = np.zeros_like(distance)
    for index in range(len(unit)):
        extended = own[index].copy()
        for other in np.flatnonzero(own[index]):
            if np.sum(closer[other] & own[index]) > 2 / 3 * np.sum(closer[other]):
                extended |= closer[other]
        values = np.exp(-distance[index]) * extended
        rows[index] = values / values.sum()
    rows = np.mean([rows[order[:, rank]] for rank in range(k2)], axis=0)
    jaccard = 1 - np.minimum(rows[i], rows[j]).sum(1) / np.maximum(rows[i], rows[j]).sum(1)
    return -((1 - weight) * jaccard + weight * distance[i, j])


@pytest.mark.parametrize('kind', ['clusters', 'copies', 'few'])
@pytest.mark.parametrize('options', [{}, {'k1': 9, 'k2': 3}, {'k1': 2, 'k2': 6}, {'k1': 0}])
def test_k_reciprocal_is_that_of_all_rows(kind, options, monkeypatch):
    monkeypatch.setattr(rerank, '_BLOCK', 16)
    rng = np.random.default_rng(5)
    if kind == 'copies':
        # Cosines are exact, so ties of the dense computation are ties here too.
        unit = rng.choice([-0.5, 0.5], (70, 4))
    else:
        n = 70 if kind == 'clusters' else 3
        centres = rng.standard_normal((5, 8))[np.arange(n) % 5]
        unit = host_unit_rows(centres + 0.6 * rng.standard_normal((n, 8))).astype(np.float64)
    i, j = rng.integers(0, len(unit), (2, 200))
    expected = _dense_k_reciprocal(unit, i, j, **options)
    np.testing.assert_allclose(k_reciprocal(unit, i, j, **options), expected, rtol=1e-9, atol=1e-9)
    single = unit.astype(np.float32)
    found = k_reciprocal(single, i[:9], j[:9], **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[:9], rtol=1e-4, atol=1e-5)


def test_k_reciprocal_holds_no_matrix_of_all_pairs(monkeypatch):
    monkeypatch.setattr(rerank, '_BLOCK', 16)
    unit = host_unit_rows(np.random.default_rng(6).standard_normal((1500, 8)))
    tracemalloc.start()
    try:
        k_reciprocal(unit, np.arange(20), np.arange(20, 40))
        # One number for each pair of images takes 4 n^2 bytes.
        assert tracemalloc.get_traced_memory()[1] < 4 * 1500**2
    finally:
        tracemalloc.stop()


def test_the_table_measures_and_compares():
    rng = np.random.default_rng(2)
    truth = rng.random((50, 6)) < 0.3
    noise = rng.standard_normal((50, 6))
    found = measure.table({'cosine': noise, 'good': noise + 3 * truth}, truth)
    assert found['cosine']['gain'] == 0
    assert found['cosine']['gain_interval'] == [0, 0]
    row = found['good']
    assert row['auc'] == roc_auc_score(truth.ravel(), (noise + 3 * truth).ravel())
    assert row['auc_interval'][0] < row['auc'] < row['auc_interval'][1]
    assert 0 < row['gain_interval'][0] < row['gain'] < row['gain_interval'][1]
    assert measure.table({'cosine': noise}, np.ones_like(truth)) == {}


def test_resamples_have_the_auc_of_their_pairs():
    rng = np.random.default_rng(6)
    truth = rng.random((20, 6)) < 0.3
    # Rounded, so that some scores are equal.
    score = np.round(rng.standard_normal(truth.shape) + truth, 1)
    counts = rng.multinomial(20, np.full(20, 1 / 20), size=5)
    expected = [
        roc_auc_score(truth.ravel(), score.ravel(), sample_weight=np.repeat(count, 6))
        for count in counts
    ]
    np.testing.assert_allclose(measure._resampled_aucs(score, truth, counts), expected, rtol=1e-12)


def test_intervals_hardly_depend_on_the_resamples():
    rng = np.random.default_rng(7)
    truth = rng.random((60, 6)) < 0.3
    score = rng.standard_normal(truth.shape) + truth
    limits = [
        measure.table({'cosine': score}, truth, seed=seed)['cosine']['auc_interval']
        for seed in range(6)
    ]
    # Of 100 resamples they are 0.004 to 0.009.
    assert np.std(limits, axis=0).max() < 0.003


def test_a_score_without_an_error_has_no_interval():
    truth = np.tile([True, False, False], (20, 1))
    noise = np.random.default_rng(4).standard_normal(truth.shape)
    found = measure.table({'cosine': noise, 'perfect': 1.0 * truth}, truth)
    assert found['perfect']['auc'] == 1
    assert found['perfect']['auc_interval'] is None
    assert found['perfect']['gain_interval'][0] < found['perfect']['gain']
    figure = figures.Figure()
    figures._bars(figure.subplots(), found, 'same class')
    (bars,) = figure.axes[0].collections
    assert [bool(np.isfinite(bar).all() and len(bar)) for bar in bars.get_segments()] == [
        True,
        False,
    ]


def test_calibration_is_measured_in_bins():
    assert measure.calibration_error(np.full((2, 5), 0.25), np.zeros((2, 5), bool)) == 0.25
    truth = np.arange(8).reshape(2, 4) % 4 == 0
    assert measure.calibration_error(np.full((2, 4), 0.25), truth) == 0


def test_logistic_calibration_finds_the_shares():
    scores = np.array([[0.0, 1.0]] * 40)
    truth = np.stack([np.arange(40) % 4 == 0, np.arange(40) % 4 > 0], axis=1)
    slope, intercept = measure.logistic_calibration(scores, truth)
    np.testing.assert_allclose(intercept, -np.log(3), rtol=1e-2)
    np.testing.assert_allclose(slope, 2 * np.log(3), rtol=1e-2)


def test_all_rescored_is_system_2_and_none_is_system_1():
    rng = np.random.default_rng(3)
    truth = rng.random((40, 5)) < 0.5
    first, second = rng.random((40, 5)), rng.random((40, 5))
    rows = measure.gain_by_fraction(second, first, first, truth, 0.5)
    aucs = {row['fraction']: row['auc'] for row in rows}
    assert aucs[0.0] == roc_auc_score(truth.ravel(), first.ravel())
    assert aucs[1.0] == roc_auc_score(truth.ravel(), second.ravel())
    bins = measure.gain_by_margin(second, first, truth, 0.5)
    edges = [row['margin'] for row in bins]
    assert edges == sorted(edges)
    assert measure.recall_at_1({'x': truth.astype(float)}, truth)['x'] == truth.any(1).mean()


# Eight pairs. The cosines of the second and the sixth are nearest to 0.5, and in the wrong order.
COSINE = np.array([[0.9, 0.45, 0.2, 0.6], [0.1, 0.52, 0.8, 0.3]])
TRUTH = np.array([[True, True, False, True], [False, False, True, False]])
# Of these two alone System 2 knows better; of all others it is wrong.
SECOND = np.array([[0.0, 0.7, 1.0, 0.0], [1.0, 0.5, 0.0, 1.0]])


def test_the_pairs_nearest_to_the_threshold_are_rescored_first():
    rows = measure.gain_by_fraction(SECOND, COSINE, COSINE, TRUTH, 0.5)
    # Of the 16 comparisons of a true pair with another one the cosine loses one. A tenth is one
    # pair, which does not win it back, and a quarter are both. Of all, one comparison is right.
    expected = {0.0: 15, 0.01: 15, 0.05: 15, 0.1: 15, 0.25: 16, 1.0: 1}
    aucs = {row['fraction']: row['auc'] for row in rows}
    assert aucs == {fraction: pytest.approx(won / 16) for fraction, won in expected.items()}


def test_each_auc_of_a_margin_is_of_its_own_score():
    rows = measure.gain_by_margin(SECOND, COSINE, TRUTH, 0.5, bins=2)
    near, far = ({name: pytest.approx(value) for name, value in row.items()} for row in rows)
    assert near == {'margin': [0.02, 0.2], 'cosine': 3 / 4, 'system 2': 1 / 4}
    assert far == {'margin': [0.3, 0.4], 'cosine': 1, 'system 2': 0}


def test_anchors_are_a_random_sample_whatever_the_order_of_the_images():
    # Evenly spread ones would all be of one class.
    labels = np.arange(40) % 4
    clean = Encoded(np.tile(UNIT[:1], (40, 1)), np.zeros((40, 1, 1), np.float32))
    split = make_split(Bank(clean, ()), labels, 10, {'pos_high': 0.1, 'pos_low': 0.5}, 4)
    assert len(np.unique(split.pairs.anchors)) == 10
    assert len(np.unique(labels[split.pairs.anchors])) > 1
