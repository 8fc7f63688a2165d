import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrastive_jax.graph import sample_difficulty
from tests.graph import references

# One size where any would do: each new one is compiled.
N = 44


def features_of(n, k=7, seed=0, classes=3):
    """Features of a few classes around a mean that is not zero."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, k))
    rows = centres[rng.integers(classes, size=n)] + 0.7 * rng.normal(size=(n, k)) + 0.5
    return rows.astype(np.float32)


def table(difficulty):
    """`[n, 4]` score, alpha, beta, gamma."""
    return np.stack(difficulty, axis=1)


class TestAgainstReference:
    @pytest.mark.parametrize('center', [True, False])
    @pytest.mark.parametrize(
        ('pos_high', 'pos_low'),
        [(0.1, 0.2), (0.3, 1.0), (0.0, 0.5), (0.25, 0.25), (0.0, 0.0), (0.0, 1.0), (1.0, 1.0)],
    )
    def test_sorts_and_averages(self, center, pos_high, pos_low):
        features = features_of(N)
        found = sample_difficulty(features, pos_high=pos_high, pos_low=pos_low, center=center)
        expected = references.sample_difficulty(features, pos_high, pos_low, center)
        np.testing.assert_allclose(table(found), expected, atol=2e-5)

    @settings(max_examples=8, deadline=None)
    @given(
        n=st.integers(3, 24),
        k=st.integers(2, 9),
        percentiles=st.tuples(st.integers(0, 100), st.integers(0, 100)),
        center=st.booleans(),
        block_size=st.sampled_from([1, 2, 5, None]),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_any_shape(self, n, k, percentiles, center, block_size, seed):
        features = np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32)
        pos_high, pos_low = (percent / 100 for percent in sorted(percentiles))
        found = sample_difficulty(
            features, pos_high=pos_high, pos_low=pos_low, center=center, block_size=block_size
        )
        _, alpha, beta, gamma = references.sample_difficulty(features, pos_high, pos_low, center).T
        np.testing.assert_allclose(found.alpha, alpha, atol=1e-4)
        np.testing.assert_allclose(found.beta, beta, atol=1e-4)
        np.testing.assert_allclose(found.gamma, gamma, atol=1e-4)
        # The score divides by alpha - beta, so it is compared multiplied by it.
        np.testing.assert_allclose(found.score * (alpha - beta), gamma - beta, atol=1e-4)

    def test_rank_is_of_the_decimal_as_written(self):
        # 0.55 of 20 others is rank 11; the product of floats is above 11 and would give 12.
        features = features_of(21)
        found = sample_difficulty(features, pos_high=0.55, pos_low=0.8)
        expected = references.sample_difficulty(features, 0.55, 0.8)
        np.testing.assert_allclose(found.alpha, expected[:, 1], atol=1e-5)

    def test_one_sample_by_hand(self):
        # Others at 0, 60, 90 and 180 degrees from the first: cosines 1, 1/2, 0, -1.
        angles = np.deg2rad([0, 0, 60, 90, 180])
        features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        found = sample_difficulty(features, pos_high=0.25, pos_low=0.75, center=False)
        np.testing.assert_allclose(table(found)[0], [1.25 / 2, 1, -1, 0.25], atol=1e-6)


class TestInvariances:
    settings = dict(pos_high=0.2, pos_low=0.5)  # noqa: RUF012

    def test_permutation(self):
        features = features_of(N)
        order = np.random.default_rng(1).permutation(N)
        found = table(sample_difficulty(features[order], **self.settings))
        np.testing.assert_allclose(
            found, table(sample_difficulty(features, **self.settings))[order], atol=1e-5
        )

    @pytest.mark.parametrize('scale', [1e-12, 3.0, 1e12])
    def test_scale(self, scale):
        features = features_of(N)
        found = sample_difficulty(features * np.float32(scale), **self.settings)
        np.testing.assert_allclose(
            table(found), table(sample_difficulty(features, **self.settings)), atol=1e-5
        )

    def test_translation_where_centered(self):
        # Multiples of 1/256, so that adding 1,000 rounds nothing away.
        features = np.round(features_of(N) * 256) / 256
        moved = features + np.float32(1000)
        np.testing.assert_allclose(
            table(sample_difficulty(moved, **self.settings)),
            table(sample_difficulty(features, **self.settings)),
            atol=1e-5,
        )
        plain = sample_difficulty(features, center=False, **self.settings)
        assert (
            np.abs(sample_difficulty(moved, center=False, **self.settings).beta - plain.beta)[0]
            > 0.1
        )

    @pytest.mark.parametrize('block_size', [1, 7, N])
    def test_blocks(self, block_size):
        features = features_of(N)
        found = sample_difficulty(features, block_size=block_size, **self.settings)
        np.testing.assert_allclose(
            table(found), table(sample_difficulty(features, **self.settings)), atol=1e-6
        )

    @pytest.mark.parametrize(('center', 'block_size'), [(True, 3), (False, None)])
    def test_four_devices(self, center, block_size):
        features = features_of(N)
        keywords = dict(self.settings, center=center, block_size=block_size)
        mapped = jax.pmap(
            functools.partial(sample_difficulty, axis_name='devices', **keywords),
            axis_name='devices',
        )(features.reshape(4, N // 4, -1))
        np.testing.assert_allclose(
            table([np.concatenate(field) for field in mapped]),
            table(sample_difficulty(features, **keywords)),
            atol=1e-6,
        )

    def test_any_floating_type(self):
        features = jnp.asarray(features_of(N)).astype(jnp.bfloat16)
        found = sample_difficulty(features, **self.settings)
        as_float32 = sample_difficulty(features.astype(jnp.float32), **self.settings)
        assert found.score.dtype == jnp.float32
        assert jnp.array_equal(found.score, as_float32.score)
        as_float64 = np.asarray(features.astype(jnp.float32)).astype(np.float64)
        assert jnp.array_equal(sample_difficulty(as_float64, **self.settings).score, found.score)
        of_a_file = as_float64.astype('>f8')
        assert jnp.array_equal(sample_difficulty(of_a_file, **self.settings).score, found.score)

    def test_no_gradient(self):
        gradient = jax.grad(lambda rows: sample_difficulty(rows, **self.settings).score.sum())(
            jnp.asarray(features_of(N))
        )
        assert not gradient.any()


class TestEdges:
    @pytest.mark.parametrize('center', [True, False])
    @pytest.mark.parametrize('value', [1.0, 0.1, -1e-20, 3e20])
    def test_constant_features_score_zero(self, center, value):
        features = np.full((N, 7), value, np.float32)
        found = sample_difficulty(features, pos_high=0.2, pos_low=0.5, center=center)
        assert np.array_equal(found.score, np.zeros(N))
        assert np.isfinite(table(found)).all()

    def test_one_direction_scores_zero(self):
        # The cosines are one up to rounding, which is not difficulty.
        rounded = False
        for seed in range(20):
            rng = np.random.default_rng(seed)
            lengths, direction = rng.uniform(0.1, 10, size=(N, 1)), rng.normal(size=(1, 7))
            features = (lengths * direction).astype(np.float32)
            found = sample_difficulty(features, pos_high=0.2, pos_low=0.5, center=False)
            rounded |= not np.array_equal(found.alpha, found.beta)
            assert np.array_equal(found.score, np.zeros(N))
        assert rounded

    @pytest.mark.parametrize('center', [True, False])
    @pytest.mark.parametrize(('pos_high', 'pos_low'), [(0.1, 0.2), (0.0, 0.5), (0.5, 1.0)])
    def test_copies_of_samples(self, center, pos_high, pos_low):
        # Each sample four times: the top of the order is ties with oneself.
        features = np.repeat(features_of(N // 4), 4, axis=0)
        found = table(
            sample_difficulty(features, pos_high=pos_high, pos_low=pos_low, center=center)
        )
        assert np.isfinite(found).all()
        assert ((found[:, 0] >= 0) & (found[:, 0] <= 1)).all()
        np.testing.assert_allclose(found, np.repeat(found[::4], 4, axis=0), atol=1e-5)

    def test_ties_with_a_threshold_lie_above_it(self):
        # Cosines of the first: 1, 0, 0, 0, -1, all exact. Rank 2 of 5 is a tie of three zeros.
        rows = [[1, 0], [1, 0], [0, 1], [0, 1], [0, -1], [-1, 0]]
        found = sample_difficulty(
            np.array(rows, np.float32), pos_high=0.4, pos_low=0.6, center=False
        )
        np.testing.assert_array_equal(table(found)[0], np.float32([0.8, 0.25, -1, 0]))

    @pytest.mark.parametrize('center', [True, False])
    def test_one_sample(self, center):
        found = sample_difficulty(np.ones((1, 3), np.float32), pos_high=0.1, pos_low=0.5)
        np.testing.assert_array_equal(table(found), [[0, 1, 1, 1]])

    @pytest.mark.parametrize('percentiles', [(0.1, 0.5), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0)])
    @pytest.mark.parametrize('center', [True, False])
    def test_two_samples(self, percentiles, center):
        pos_high, pos_low = percentiles
        features = np.array([[1, 0], [0.6, 0.8]], np.float32)
        found = sample_difficulty(features, pos_high=pos_high, pos_low=pos_low, center=center)
        cosine = -1.0 if center else 0.6
        expected = {
            (0.1, 0.5): [0, cosine, cosine, cosine],
            (1.0, 1.0): [0, cosine, cosine, cosine],
            (0.0, 1.0): [0, 1, cosine, cosine],
            (0.0, 0.0): [1, 1, cosine, 1],
        }[percentiles]
        np.testing.assert_allclose(table(found), [expected] * 2, atol=1e-6)

    def test_the_sample_that_is_the_mean(self):
        features = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]], np.float32) + 3
        found = table(sample_difficulty(features, pos_high=0.25, pos_low=0.5))
        np.testing.assert_array_equal(found[4, [0, 1]], [0, 0])
        assert np.isfinite(found).all()

    @settings(max_examples=100, deadline=None)
    @given(
        entries=st.lists(st.integers(-1, 1), min_size=12, max_size=12),
        n=st.sampled_from([1, 2, 6]),
        percentiles=st.tuples(st.integers(0, 4), st.integers(0, 4)),
        center=st.booleans(),
    )
    def test_never_nan(self, entries, n, percentiles, center):
        features = np.array(entries, np.float32).reshape(6, 2)[:n] + np.float32(0.1)
        pos_high, pos_low = (quarter / 4 for quarter in sorted(percentiles))
        found = sample_difficulty(features, pos_high=pos_high, pos_low=pos_low, center=center)
        assert np.isfinite(table(found)).all()
        assert ((found.score >= 0) & (found.score <= 1)).all()
        assert ((found.alpha >= found.gamma - 1e-5) & (found.gamma >= found.beta - 1e-5)).all()


class TestErrors:
    @pytest.mark.usefixtures('unchecked_types')
    def test_masked_features(self):
        masked = np.ma.masked_array(features_of(9), mask=features_of(9) > 1)
        with pytest.raises(ValueError, match='masked'):
            sample_difficulty(masked, pos_high=0.1, pos_low=0.2)

    @pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e31])
    def test_names_the_row_that_is_not_finite(self, value):
        features = features_of(9)
        features[[4, 6], 2] = value
        with pytest.raises(ValueError, match=r'row 4 holds NaN, infinity.*2 such rows'):
            sample_difficulty(features, pos_high=0.1, pos_low=0.2)

    def test_names_the_row_without_a_direction(self):
        features = features_of(9)
        features[5] = 0
        with pytest.raises(ValueError, match=r'row 5 holds only zeros'):
            sample_difficulty(jnp.asarray(features), pos_high=0.1, pos_low=0.2)

    def test_no_samples(self):
        with pytest.raises(ValueError, match=r'shape \(0, 4\)'):
            sample_difficulty(np.zeros((0, 4), np.float32), pos_high=0.1, pos_low=0.2)

    @pytest.mark.parametrize(('pos_high', 'pos_low'), [(0.3, 0.2), (-0.1, 0.2), (0.1, 20.0)])
    def test_percentiles(self, pos_high, pos_low):
        with pytest.raises(ValueError, match=f'pos_high={pos_high}, pos_low={pos_low}'):
            sample_difficulty(features_of(5), pos_high=pos_high, pos_low=pos_low)

    def test_block_size(self):
        with pytest.raises(ValueError, match='block_size=0'):
            sample_difficulty(features_of(5), pos_high=0.1, pos_low=0.2, block_size=0)


class TestMemory:
    @pytest.mark.parametrize(('n', 'block_size'), [(8192, 16), (16384, 32)])
    def test_grows_with_the_block_not_with_the_square(self, n, block_size):
        k = 8
        score = functools.partial(
            sample_difficulty, pos_high=0.1, pos_low=0.2, block_size=block_size
        )
        features = jax.ShapeDtypeStruct((n, k), jnp.float32)
        memory = jax.jit(score).lower(features).compile().memory_analysis()
        # The model in the module's docstring: the features twice, five words a pair of a block.
        assert memory.temp_size_in_bytes <= 4 * (2 * n * k + 5 * block_size * n)
        assert memory.temp_size_in_bytes < 4 * n * n / 50
