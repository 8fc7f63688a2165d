"""The theory at the ends of its ranges: never a quiet NaN, and its equivalences hold."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contrastive_jax.theory import SimilarityModel, bounds, conditions, estimate, normalised
from tests.fuzz.arrays import matrices, spoiled
from tests.objectives import references

any_number = st.floats() | st.sampled_from([0.0, 1e-20, 1e-300, 0.5, 1 - 1e-16, 1.0])
any_count = st.integers(-2, 12) | st.sampled_from([10**9, 10**18])


@st.composite
def models(draw):
    """Any model that is allowed, from 2 classes of 1 to a thousand million of as many."""
    largest = draw(st.sampled_from([6, 10**9]))
    count = draw(st.integers(1, largest))
    inside = st.floats(1e-20, 1, exclude_max=True)
    beta, gamma, alpha = sorted(draw(st.tuples(inside, inside, inside)))
    beta = draw(st.sampled_from([0.0, beta]))
    assume(beta < gamma < alpha)
    return SimilarityModel(
        draw(st.integers(2, largest)), count, draw(st.integers(0, count)), alpha, beta, gamma
    )


def _good(counts, values):
    classes, n, difficult = counts
    alpha, beta, gamma = values
    return classes >= 2 and 1 <= n >= difficult >= 0 <= beta < gamma < alpha < 1


@given(st.tuples(any_count, any_count, any_count), st.tuples(any_number, any_number, any_number))
def test_a_model_is_refused_or_has_degrees(counts, values):
    if _good(counts, values):
        model = SimilarityModel(*counts, *values)
        assert 0 < model.easy_degree <= model.difficult_degree('block') < math.inf
    else:
        names = '|'.join(SimilarityModel.__annotations__)
        with pytest.raises(ValueError, match=f'^({names})='):
            SimilarityModel(*counts, *values)


@given(model=models(), error=st.floats(0, 1), place=st.floats(0, 1))
def test_bounds_are_numbers_or_say_nothing(model, error, place):
    largest = model.num_classes * model.samples_per_class - 1
    dim = min(largest, 1 + int(place * largest))
    for name, bound in bounds(model, error, dim)._asdict().items():
        for value in bound:
            assert value >= 0, (name, bound)


@given(model=models(), place=st.floats(0, 1))
def test_conditions_compare_the_printed_bounds(model, place):
    found = conditions(model, 1)
    printed = bounds(model, 0.1, 1)
    for condition, bound in (
        (found.removal_helps, printed.removed),
        (found.temperature_helps, printed.temperature),
    ):
        assert not math.isnan(condition.value)
        assert not math.isnan(condition.limit)
        kept = printed.with_difficult.printed
        # Where the two are equal but for rounding, either answer is right.
        if model.difficult_per_class and abs(bound.printed - kept) > 1e-9 * kept:
            assert condition.holds == (bound.printed < kept)


@given(features=matrices(12, 5, zeros=False))
def test_an_estimate_is_a_number_or_refused(features):
    try:
        found = estimate(features, pos_high=0.2, pos_low=0.6, num_bootstrap=3)
    except ValueError:  # Ties left one of the three kinds of pairs empty, or all resamples.
        cosines = references.similarities(features)
        assert np.min(np.diff(np.sort(cosines, axis=1)[:, :-1])) < 1e-9
    else:
        for interval in found[:4]:
            assert np.all(np.isfinite(interval))
            assert interval.low <= interval.high


@given(features=spoiled(12, 5))
def test_an_estimate_of_what_is_no_number_is_refused(features):
    with pytest.raises(ValueError, match='features'):
        estimate(features, pos_high=0.2, pos_low=0.6, num_bootstrap=3)


@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-150, 150))
def test_normalising_forgets_the_scale(seed, exponent):
    weights = np.random.default_rng(seed).uniform(size=(6, 6))
    weights = weights + weights.T
    scaled = normalised(weights * 10.0**exponent)
    np.testing.assert_allclose(scaled, normalised(weights), rtol=1e-12)
