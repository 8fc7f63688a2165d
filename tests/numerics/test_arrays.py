"""Axes: m anchors, n values, d dimensions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contrastive_jax.numerics import (
    cosines,
    count_true,
    default_block,
    map_anchors,
    masked_logsumexp,
    order_statistics,
    percentile_rank,
    unit_rows,
)
from tests.objectives.checks import normal

few = settings(max_examples=25, deadline=None)
# One shape per compilation: Hypothesis looks for values here, the shapes are listed by hand.
values_8 = hnp.arrays(
    np.float32, 8, elements=st.floats(width=32, allow_nan=False, allow_subnormal=False)
)


def kth_largest(values, rank):
    return order_statistics(jnp.asarray(values, jnp.float32), [rank])[0]


class TestUnitRows:
    @pytest.mark.parametrize('shape', [(1, 1), (5, 3), (2, 3, 7), (4,)])
    def test_equals_division_by_the_norm(self, shape):
        rows = normal(0, *shape)
        exact = rows / np.linalg.norm(rows.astype(np.float64), axis=-1, keepdims=True)
        np.testing.assert_allclose(unit_rows(jnp.asarray(rows)), exact, rtol=1e-6)

    @pytest.mark.parametrize('scale', [1e-36, 1e-20, 1e-10, 1e10, 1e20, 1e37])
    def test_any_scale(self, scale):
        rows = normal(0, 6, 5)
        np.testing.assert_allclose(
            unit_rows(jnp.asarray(rows * np.float32(scale))),
            unit_rows(jnp.asarray(rows)),
            atol=3e-7,
        )

    @pytest.mark.parametrize('largest', [9e37, 3.4e38])
    def test_the_largest_numbers_of_float32(self, largest):
        # Their reciprocals are no normal numbers, which XLA takes for zero.
        row = jnp.array([largest, -largest / 2, 0.0], jnp.float32)
        for function in (unit_rows, jax.jit(unit_rows)):
            np.testing.assert_allclose(function(row), np.array([2, -1, 0]) / 5**0.5, rtol=1e-6)

    def test_zero_row_stays_zero_and_passes_no_gradient(self):
        rows = jnp.asarray(normal(0, 3, 4)).at[1].set(0)
        value, pullback = jax.vjp(unit_rows, rows)
        (gradient,) = pullback(jnp.ones_like(rows))
        assert np.all(np.asarray(value[1]) == 0)
        assert np.all(np.asarray(gradient[1]) == 0)
        assert np.all(np.isfinite(gradient))
        assert np.any(np.asarray(gradient[0]) != 0)

    def test_gradient_is_the_projection_on_the_tangent_plane(self):
        row, direction = normal(1, 5), normal(2, 5)
        gradient = jax.grad(lambda x: jnp.dot(unit_rows(x), jnp.asarray(direction)))(
            jnp.asarray(row)
        )
        length = np.linalg.norm(row.astype(np.float64))
        u = row / length
        np.testing.assert_allclose(gradient, (direction - u @ direction * u) / length, rtol=2e-6)

    @pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
    def test_half_precision_is_computed_in_float32(self, dtype):
        # 300^2 overflows float16.
        rows = jnp.asarray(300 * normal(0, 4, 16), dtype)
        unit = unit_rows(rows)
        assert unit.dtype == jnp.float32
        np.testing.assert_array_equal(unit, unit_rows(rows.astype(jnp.float32)))
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)


def test_cosines_equal_dot_products():
    rows, anchor = normal(0, 9, 5), normal(1, 5)
    np.testing.assert_allclose(
        cosines(jnp.asarray(rows), jnp.asarray(anchor)),
        [np.dot(row, anchor) for row in rows.astype(np.float64)],
        atol=1e-6,
    )


class TestOneOrderStatistic:
    @given(values=values_8)
    @few
    def test_equals_sorting_at_every_rank(self, values):
        found = jax.jit(partial(order_statistics, ranks=range(1, 9)))(jnp.asarray(values))
        np.testing.assert_array_equal(np.stack(found), np.sort(values)[::-1])

    @pytest.mark.parametrize('n', [1, 2, 37, 1000])
    def test_equals_sorting_of_cosines_with_ties(self, n):
        values = np.round(np.random.default_rng(n).uniform(-1, 1, n), 2).astype(np.float32)
        for rank in {1, n // 3 + 1, n}:
            assert kth_largest(values, rank) == np.sort(values)[::-1][rank - 1]

    def test_absent_entries_come_last(self):
        values = [-np.inf, 3.0, -1.0, -np.inf]
        assert [float(kth_largest(values, rank)) for rank in (1, 2, 3)] == [3, -1, -np.inf]

    def test_rank_zero_is_above_everything(self):
        assert kth_largest([np.inf, 0.0], 0) == jnp.inf
        assert kth_largest([], 0) == jnp.inf

    def test_rank_may_be_traced(self):
        ranks = jnp.arange(4)
        found = jax.vmap(lambda rank: kth_largest([2.0, -5.0, 1.0], rank))(ranks)
        np.testing.assert_array_equal(found, [np.inf, 2, 1, -5])


@pytest.mark.parametrize(
    ('percentile', 'count', 'rank'),
    [
        *[(0.0, 20, 0), (1.0, 20, 20), (0.55, 20, 11), (0.1, 30, 3), (0.07, 100, 7), (0.01, 14, 1)],
        # Rounded by arithmetic, or by a shorter type.
        *[(1 - 0.9, 100, 10), (float(np.linspace(0.1, 0.5, 5)[2]), 50, 15), (15 / 1347, 1347, 15)],
        *[(np.float32(0.1), 50, 5), (np.float32(0.29), 100, 29)],
        *[(np.float32(1 / 3), 60_000, 20_000), (np.float32(0.3), 10_000_000, 3_000_000)],
        *[(np.int64(1), 10, 10), (np.float32(0.0011), 100_000_090, 110_001)],
        # However few there are, a share is not nothing.
        *[(1e-9, 100, 1), (1e-30, 5, 1), (1 - 1e-9, 100, 100)],
        # More than rounding.
        *[(0.2001, 10_000, 2001), (0.20001, 10_000, 2001)],
    ],
)
def test_rank_is_that_of_the_decimal_as_written(percentile, count, rank):
    assert percentile_rank(percentile, count) == rank


def test_several_order_statistics_at_once():
    values = np.round(normal(0, 50), 1)
    ranks = [50, 0, 1, 17, 17]
    exact = [np.inf if rank == 0 else np.sort(values)[::-1][rank - 1] for rank in ranks]
    np.testing.assert_array_equal(order_statistics(jnp.asarray(values), ranks), exact)


def test_count_true():
    masks = np.random.default_rng(0).random((3, 40)) < np.array([[0.0], [0.4], [1.0]])
    np.testing.assert_array_equal(count_true(list(map(jnp.asarray, masks))), masks.sum(axis=1))


class TestMaskedLogsumexp:
    @given(
        logits=hnp.arrays(np.float32, 6, elements=st.floats(-400, 400, width=32)),
        mask=hnp.arrays(bool, 6),
    )
    @few
    def test_equals_the_slice(self, logits, mask):
        value, gradient = jax.value_and_grad(masked_logsumexp)(
            jnp.asarray(logits), jnp.asarray(mask)
        )
        exact = np.logaddexp.reduce(logits[mask].astype(np.float64), initial=-np.inf)
        np.testing.assert_allclose(value, exact, rtol=1e-6, atol=1e-6)
        shares = np.zeros(6)
        shares[mask] = np.exp(logits[mask] - exact)
        np.testing.assert_allclose(gradient, shares, atol=1e-4)

    def test_masked_entries_may_be_infinite(self):
        logits, mask = jnp.array([jnp.inf, 1.0, -jnp.inf]), jnp.array([False, True, False])
        value, gradient = jax.value_and_grad(masked_logsumexp)(logits, mask)
        assert value == 1
        np.testing.assert_array_equal(gradient, [0, 1, 0])


class TestMapAnchors:
    @pytest.mark.parametrize('block_size', [1, 2, 3, 5, 6, None])
    def test_equals_vmap_in_value_and_gradient(self, block_size):
        anchors = (jnp.asarray(normal(0, 5, 3)), jnp.arange(5))
        rows = jnp.asarray(normal(1, 4, 3))

        def total(rows):
            out, place = map_anchors(
                lambda inputs: (jnp.tanh(rows @ inputs[0]), inputs[1]), anchors, 4, block_size
            )
            return jnp.sum(out**2), (out, place)

        (_, (out, place)), gradient = jax.value_and_grad(total, has_aux=True)(rows)
        exact = np.tanh(np.asarray(anchors[0]) @ np.asarray(rows).T)
        np.testing.assert_allclose(out, exact, rtol=1e-5)
        np.testing.assert_array_equal(place, np.arange(5))
        slope = 2 * exact * (1 - exact**2)
        np.testing.assert_allclose(gradient, slope.T @ np.asarray(anchors[0]), rtol=1e-5, atol=1e-6)

    def test_the_default_block_stays_small(self):
        assert default_block(512) >= 512  # a usual batch is one block
        for n in (4096, 16_384, 50_000):
            assert default_block(n) * n <= 2**20
        assert default_block(10**9) == 16

    def test_a_block_of_no_anchors_is_refused(self):
        with pytest.raises(ValueError, match='block_size=0'):
            map_anchors(lambda x: x, jnp.zeros(3), 3, 0)


def test_rank_zero_is_no_nan_on_the_way():
    with jax.debug_nans(True):
        assert order_statistics(jnp.array([0.5, 0.1]), [0, 1])[0] == np.inf
