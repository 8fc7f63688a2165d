"""Difficulty by landmarks: errors, intervals, and what is left of them when all are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.graph import landmarks, tiles
from contrastive_jax.graph.difficulty import SampleDifficulty
from tests.graph import references

N = 300
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(6, 8))[RNG.integers(6, size=N)] + RNG.normal(size=(N, 8))

_TILE = jax.jit(tiles.tile_by_rows, static_argnums=(4, 5))


def _units():
    centred = FEATURES - FEATURES.mean(axis=0)
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)


def _estimate(count, seed=0, band=(0.1, 0.5), p=0.05):
    unit, drawn = _units(), landmarks.draw_rows(N, count, seed).astype(np.int32)
    at = landmarks.levels(*band, count, N, p)
    cuts = tiles.Cuts(drawn, at, np.array(1, np.int32), np.zeros(count + 1, np.float32))
    columns = frozenset({'score', 'partner'})
    found = _TILE(unit[drawn], unit, np.arange(N, dtype=np.int32), cuts, columns, True)
    return {name: np.asarray(x) for name, x in found.items()}


@pytest.mark.parametrize('band', [(0.1, 0.5), (0.0, 0.3), (0.2, 0.2), (0.3, 1.0), (0.0, 1.0)])
def test_with_all_others_as_landmarks_the_score_is_exact(band):
    found = _estimate(N - 1, band=band)
    expected = references.sample_difficulty(FEATURES, *band)
    for name, values in zip(SampleDifficulty._fields, expected.T, strict=True):
        np.testing.assert_allclose(found[name], values, atol=2e-6)
    # Nothing is left to chance.
    np.testing.assert_array_equal(found['error'], 0)


@pytest.mark.parametrize('band', [(0.1, 0.5), (0.0, 0.3), (0.2, 0.2), (0.3, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize('count', [2, 20, 150, N - 1])
def test_guaranteed_intervals_hold_the_exact_values(band, count):
    found = _estimate(count, band=band)
    expected = references.sample_difficulty(FEATURES, *band)
    for name, values in zip(SampleDifficulty._fields, expected.T, strict=True):
        low, high = found[f'{name}_low'], found[f'{name}_high']
        assert (low <= high + 1e-6).all()
        assert ((low - 1e-5 <= values) & (values <= high + 1e-5)).mean() >= 0.95
        assert ((low - 1e-5 <= found[name]) & (found[name] <= high + 1e-5)).all()


@pytest.mark.ci
def test_the_standard_error_is_the_spread_over_draws():
    draws = [_estimate(60, seed) for seed in range(200)]
    spread = np.std([draw['score'] for draw in draws], axis=0)
    claimed = np.sqrt(np.mean([draw['error'] ** 2 for draw in draws], axis=0))
    # 200 draws tell a spread to 5 %, and the mean over samples better.
    assert 0.9 < np.mean(claimed / spread) < 1.1
    exact = references.sample_difficulty(FEATURES, 0.1, 0.5)[:, 0]
    inside = [np.abs(draw['score'] - exact) <= 1.96 * draw['error'] for draw in draws]
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.parametrize(
    ('count', 'band'), [(20, (0.01, 0.02)), (100, (0.1, 1.0)), (60, (0.2, 0.2))]
)
def test_the_error_is_not_understated_where_a_band_is_empty(count, band):
    exact = references.sample_difficulty(FEATURES, *band)[:, 0]
    draws = [_estimate(count, seed, band=band) for seed in range(20)]
    inside = [np.abs(draw['score'] - exact) <= 1.96 * draw['error'] + 1e-6 for draw in draws]
    assert np.mean(inside) > 0.92


def test_every_anchor_is_compared_with_as_many_others():
    # The mean of all cosines is that of the landmarks: the bands together hold R of them.
    count, unit = 40, _units()
    drawn = landmarks.draw_rows(N, count, 0)
    found = _estimate(count, band=(0.0, 0.0))
    for anchor in (int(drawn[0]), int(drawn[-1]), int(np.setdiff1d(np.arange(N), drawn)[0])):
        own = drawn[drawn != anchor][:count]
        assert len(own) == count
        np.testing.assert_allclose(
            found['beta'][anchor], (unit[own] @ unit[anchor]).mean(), atol=1e-6
        )


def test_partners_are_the_nearest_landmarks_of_the_band():
    count, unit = 100, _units()
    drawn, found = landmarks.draw_rows(N, count, 0), _estimate(count)
    for anchor in range(20):
        own = drawn[drawn != anchor][:count]
        order = own[np.argsort(-(unit[own] @ unit[anchor]))]
        assert found['partner'][anchor] == order[10]


def test_the_rank_error_is_that_of_the_inequality():
    # Massart's constant where n is large, and nearly nothing where all are drawn.
    assert landmarks.rank_error(100, 10**9, 0.05) == pytest.approx(
        np.sqrt(np.log(40) / 200), rel=1e-6
    )
    assert landmarks.rank_error(999, 1000) < 0.0015
    # Worst distance of the distribution of a sample from that of all, over draws.
    values = np.sort(np.random.default_rng(1).normal(size=400))
    worst = []
    for seed in range(500):
        own = np.sort(values[landmarks.draw_rows(401, 200, seed)[:200] % 400])
        share = np.searchsorted(own, values, side='right') / 200
        worst.append(np.abs(share - np.arange(1, 401) / 400).max())
    assert np.mean(np.array(worst) <= landmarks.rank_error(200, 401)) >= 0.95


@pytest.mark.parametrize('count', [-1, 0, 1, N, N + 1])
def test_numbers_of_landmarks_that_cannot_be_are_refused(count):
    with pytest.raises(ValueError, match=f'landmarks={count}: need 2 to {N - 1}'):
        landmarks.draw_rows(N, count, 0)


def test_draws_differ_by_seed_and_repeat():
    first = landmarks.draw_rows(N, 50, 0)
    assert len(np.unique(first)) == 51
    np.testing.assert_array_equal(first, landmarks.draw_rows(N, 50, 0))
    assert set(first) != set(landmarks.draw_rows(N, 50, 1))


def test_constant_cosines_give_a_score_of_zero():
    others = jnp.ones(10, bool)
    at = landmarks.levels(0.1, 0.5, 10, 100)
    similarity = jnp.full(10, 0.5)
    thresholds = [jnp.float32(0.5)] * 6
    found, _ = jax.jit(landmarks.score_anchor)(similarity, others, thresholds, at)
    assert (found.difficulty.score, found.error, found.low.score) == (0, 0, 0)
