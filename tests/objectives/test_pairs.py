"""Axes: m rows (view 1, then view 2), n rows of all devices, k features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrastive_jax.objectives import (
    different_class_share,
    difficult_band,
    difficult_pairs,
    info_nce,
    nt_xent,
    queue_band,
)
from contrastive_jax.objectives._compare import anchors_and_rows
from contrastive_jax.objectives.pairs import selection
from tests.marks import in_ci
from tests.objectives import references
from tests.objectives.checks import normal, quick_jit

BANDS = [(0.0, 1.0), (0.0, 0.4), (0.1, 1.0), (0.25, 0.6), (0.3, 0.3), (0.0, 0.0), (1.0, 1.0)]


def signs(seed, m, k=16):
    """Rows whose cosines are exact in float32 and take few values, so nearly all are ties."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], (m, k)).astype(np.float32)


def band_as_matrix(features, *, axis_name=None, **options):
    """What a loss makes of the band, `[m, n]`."""
    band = difficult_band(features, axis_name=axis_name, **options)
    anchors, rows = anchors_and_rows(features, axis_name)
    entries, shared, select = selection(band, axis_name, (len(features), len(rows)))
    return jax.vmap(lambda entry, anchor: select(entry, shared, anchor.negatives(len(rows))))(
        entries, anchors
    )


@functools.partial(quick_jit, static_argnames=('pos_high', 'pos_low', 'block_size'))
def matrix_and_band(features, **options):
    return difficult_pairs(features, **options), band_as_matrix(features, **options)


@pytest.mark.parametrize(('pos_high', 'pos_low'), BANDS)
@pytest.mark.parametrize('make', [normal, signs], ids=['distinct', 'ties'])
def test_matrix_equals_band_equals_sorting(make, pos_high, pos_low):
    features = make(0, 14, 16)
    exact = references.difficult_pairs(features, pos_high, pos_low)
    options = {'pos_high': pos_high, 'pos_low': pos_low}
    for found in matrix_and_band(jnp.asarray(features), **options):
        np.testing.assert_array_equal(found, exact)


@given(
    images=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**16),
    percents=st.sampled_from([(0, 100), (10, 60), (33, 77)]),
    copies=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_any_batch_equals_sorting(images, seed, percents, copies):
    features = normal(seed, 2 * images, 5)
    if copies:
        # Copied images tie in exact arithmetic. In float32 equal rows give equal cosines only where
        # the products are summed in one order, so the band, which has slack, is held against it.
        features[: images // 2] = features[images // 2 : 2 * (images // 2)]
    options = dict(zip(('pos_high', 'pos_low'), (p / 100 for p in percents), strict=True))
    _, found = matrix_and_band(jnp.asarray(features), **options)
    np.testing.assert_array_equal(found, references.difficult_pairs(features, **options))


def test_self_and_positive_are_never_selected():
    for selected in matrix_and_band(jnp.asarray(normal(0, 12, 4)), pos_high=0.0, pos_low=1.0):
        np.testing.assert_array_equal(selected, references.all_negatives(12))


def test_the_share_selected_is_the_width_of_the_band():
    selected, _ = matrix_and_band(jnp.asarray(normal(0, 42, 8)), pos_high=0.1, pos_low=0.6)
    # Of 40 negatives: the 24th largest to the 4th largest, without the latter.
    np.testing.assert_array_equal(np.sum(selected, axis=1), 20)


@pytest.mark.parametrize('block_size', [7, 16, 24, 100])
def test_blocks_change_nothing(block_size):
    features = jnp.asarray(normal(3, 24, 6))
    options = {'pos_high': 0.1, 'pos_low': 0.7}
    exact = references.difficult_pairs(features, **options)
    options['block_size'] = block_size
    for found in matrix_and_band(features, **options):
        np.testing.assert_array_equal(found, exact)


def test_devices_change_nothing():
    """Device-major rows: device v holds view 1 and view 2 of its own images."""
    devices, b = 4, 3
    features = normal(4, 2 * devices * b, 6)
    order = np.arange(2 * devices * b).reshape(2, devices, b).transpose(1, 0, 2).reshape(-1)
    local = jnp.asarray(features[order].reshape(devices, 2 * b, 6))
    labels = np.tile(np.arange(devices * b) % 3, 2)
    options = {'pos_high': 0.1, 'pos_low': 0.7}
    exact = references.difficult_pairs(features, **options)

    def on_device(features, labels):
        matrix = difficult_pairs(features, axis_name='devices', **options)
        band = difficult_band(features, axis_name='devices', block_size=2, **options)
        share = different_class_share(band, labels, axis_name='devices', block_size=2)
        return matrix, band_as_matrix(features, axis_name='devices', **options), share

    matrix, band, share = jax.pmap(on_device, axis_name='devices')(
        local, jnp.asarray(labels[order].reshape(devices, -1))
    )
    expected = exact[np.ix_(order, order)]
    np.testing.assert_array_equal(np.asarray(matrix).reshape(expected.shape), expected)
    np.testing.assert_array_equal(np.asarray(band).reshape(expected.shape), expected)
    np.testing.assert_allclose(share, references.different_class_share(exact, labels), rtol=1e-6)


@pytest.mark.parametrize('scale', [1e-20, 1e20])
def test_any_scale_of_the_features(scale):
    features = normal(5, 16, 4)
    options = {'pos_high': 0.2, 'pos_low': 0.8}
    exact = references.difficult_pairs(features, **options)
    for found in matrix_and_band(jnp.asarray(features * np.float32(scale)), **options):
        np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_features_are_compared_in_float32(dtype):
    features = jnp.asarray(normal(6, 16, 8), dtype)
    options = {'pos_high': 0.2, 'pos_low': 0.8}
    exact = references.difficult_pairs(np.asarray(features.astype(jnp.float32)), **options)
    for found in matrix_and_band(features, **options):
        np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize(
    ('value', 'pos_high', 'selected'), [(0, 0.1, 0), (0, 0, 6), (np.nan, 0, 0)]
)
def test_row_without_a_direction(value, pos_high, selected):
    features = normal(0, 8, 3)
    features[0] = value
    pairs = difficult_pairs(jnp.asarray(features), pos_high=pos_high, pos_low=0.5)
    assert np.sum(pairs[0]) == selected


def test_no_gradient_flows_through_the_selection():
    def thresholds(features):
        band = difficult_band(features, pos_high=0.2, pos_low=0.8)
        return jnp.sum(band.high + band.low) + jnp.sum(band.features)

    assert np.all(np.asarray(quick_jit(jax.grad(thresholds))(jnp.asarray(normal(7, 10, 4)))) == 0)


@pytest.mark.parametrize(('moved', 'high', 'low'), [('low', 0.3, 0.5), ('high', 0.2, 0.6)])
def test_a_pair_that_misses_a_threshold_by_more_than_rounding_misses_it(moved, high, low):
    features = normal(0, 12, 16)
    pairs = jnp.asarray(references.difficult_pairs(features, high, low))

    @quick_jit
    def losses(features):
        # Of 10 negatives the 4th to the 6th are selected, until a pair at a threshold misses it.
        band = difficult_band(features, pos_high=0.3, pos_low=0.6)
        band = band._replace(**{moved: getattr(band, moved) + 1e-5})
        return [
            nt_xent(features, temperature=0.5, pairs=form, remove=True)[0] for form in (pairs, band)
        ]

    expected, loss = losses(jnp.asarray(features))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


class TestDifferentClassShare:
    @pytest.mark.parametrize('classes', [1, 5])
    def test_equals_counting(self, classes):
        features = normal(8, 20, 4)
        labels = np.tile(np.arange(10) % classes, 2)
        pairs = references.difficult_pairs(features, 0.1, 0.5)
        exact = references.different_class_share(pairs, labels)
        for form in (
            jnp.asarray(pairs),
            difficult_band(jnp.asarray(features), pos_high=0.1, pos_low=0.5),
        ):
            found = different_class_share(form, jnp.asarray(labels))
            np.testing.assert_allclose(found, exact, rtol=1e-6)

    def test_of_every_negative(self):
        labels = np.tile(np.arange(6) % 3, 2)
        exact = references.different_class_share(references.all_negatives(12), labels)
        np.testing.assert_allclose(
            different_class_share('all', jnp.asarray(labels)), exact, rtol=1e-6
        )

    def test_unknown_classes_count_nowhere(self):
        features = normal(8, 20, 4)
        labels = np.tile([0, 1, 2, -1, 0, 1, -1, 2, 0, 1], 2)
        pairs = references.difficult_pairs(features, 0.1, 0.5)
        known = pairs & (labels >= 0)[:, None] & (labels >= 0)
        exact = references.different_class_share(known, labels)
        assert exact != references.different_class_share(pairs, labels)
        found = different_class_share(jnp.asarray(pairs), jnp.asarray(labels))
        np.testing.assert_allclose(found, exact, rtol=1e-6)

    def test_of_nothing_is_not_a_number(self):
        assert np.isnan(different_class_share('all', jnp.full(4, -1)))
        assert np.isnan(different_class_share(None, jnp.zeros(4, jnp.int32)))


class TestErrors:
    @pytest.mark.parametrize('percentiles', [(0.5, 0.4), (-0.1, 0.5), (0.1, 1.1), (np.nan, 0.5)])
    @pytest.mark.parametrize('function', [difficult_band, difficult_pairs])
    def test_percentiles_out_of_order(self, function, percentiles):
        pos_high, pos_low = percentiles
        with pytest.raises(ValueError, match='pos_high'):
            function(jnp.ones((4, 2)), pos_high=pos_high, pos_low=pos_low)

    @pytest.mark.usefixtures('unchecked_types')
    def test_pairs_of_another_batch(self):
        embeddings = jnp.ones((4, 2))
        with pytest.raises(ValueError, match=r'a matrix \[4, 2\]; here it needs \[4, 4\]'):
            nt_xent(embeddings, temperature=0.5, pairs=jnp.ones((4, 2), bool))
        band = difficult_band(jnp.ones((6, 2)), pos_high=0.1, pos_low=0.5)
        with pytest.raises(ValueError, match=r'a band of 6 anchors .* here are 4 anchors'):
            nt_xent(embeddings, temperature=0.5, pairs=band)
        keys = queue_band(embeddings, jnp.ones((5, 2)), pos_high=0.1, pos_low=0.5)
        with pytest.raises(ValueError, match='and 5 rows; here are 4 anchors and 6 rows'):
            info_nce(embeddings, embeddings, jnp.ones((6, 2)), temperature=0.5, pairs=keys)

    @pytest.mark.parametrize('rows', [0, 3])
    def test_number_of_rows_that_is_not_two_views(self, rows):
        with pytest.raises(ValueError, match=f'{rows} rows'):
            difficult_band(jnp.ones((rows, 2)), pos_high=0.1, pos_low=0.5)

    @pytest.mark.parametrize(('band_axis', 'loss_axis'), [(None, 'd'), ('d', None)])
    def test_a_band_of_other_rows_than_the_loss_compares(self, band_axis, loss_axis):
        def loss(features):
            band = difficult_band(features, pos_high=0.1, pos_low=0.5, axis_name=band_axis)
            return nt_xent(features, temperature=0.5, pairs=band, axis_name=loss_axis)

        devices = jnp.ones((2, 4, 3))
        with pytest.raises(ValueError, match=f'axis_name={loss_axis!r}: the band was made with'):
            jax.eval_shape(jax.vmap(loss, axis_name='d'), devices)

    @pytest.mark.parametrize('rebuild', [jax.jit, *in_ci(jax.checkpoint)])
    def test_a_band_that_was_rebuilt_is_taken(self, rebuild):
        def loss(features):
            make = functools.partial(difficult_band, pos_high=0.2, pos_low=0.6, axis_name='d')
            direct = nt_xent(features, temperature=0.5, pairs=make(features), axis_name='d')
            band = rebuild(make)(features)
            return direct[0], nt_xent(features, temperature=0.5, pairs=band, axis_name='d')[0]

        direct, rebuilt = jax.vmap(loss, axis_name='d')(jnp.asarray(normal(0, 2, 4, 3)))
        np.testing.assert_allclose(rebuilt, direct, rtol=1e-6)

    @pytest.mark.usefixtures('unchecked_types')
    def test_a_band_of_the_other_kind(self):
        rows = jnp.asarray(normal(0, 4, 3))
        of_batch = difficult_band(rows, pos_high=0.1, pos_low=0.5)
        of_queue = queue_band(rows, rows, pos_high=0.1, pos_low=0.5)
        with pytest.raises(ValueError, match='a band of queue_band; here'):
            nt_xent(rows, temperature=0.5, pairs=of_queue)
        with pytest.raises(ValueError, match='a band of difficult_band; here'):
            info_nce(rows, rows, rows, temperature=0.5, pairs=of_batch)

    @pytest.mark.usefixtures('unchecked_types')
    def test_unknown_word_for_the_pairs(self):
        # Outside the tests no type is checked, and the function itself has to refuse.
        with pytest.raises(ValueError, match="'some'"):
            selection('some', None, (4, 4))


@pytest.mark.usefixtures('unchecked_types')
def test_traced_percentiles_are_told_what_to_be():
    def high(pos_high):
        return difficult_band(jnp.eye(4), pos_high=pos_high, pos_low=0.5).high

    with pytest.raises(ValueError, match='are traced; give Python numbers'):
        jax.jit(high)(0.1)
