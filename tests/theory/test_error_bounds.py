import dataclasses
import math

import numpy as np
import pytest

from contrastive_jax.theory import (
    SimilarityModel,
    adjacency,
    bounds,
    conditions,
    error_bound,
    normalised,
    spectrum,
)
from contrastive_jax.theory.error_bounds import difficult_fraction
from tests.theory.models import EXAMPLE, STRUCTURES, classes_ahead, random_model


def printed(r, n, n_d, alpha, beta, gamma, delta):
    """The five closed forms, typed from the paper."""
    c1 = (1 - alpha) + n * alpha + n * r * beta + n_d * r * (gamma - beta)
    c2 = (1 - alpha) + n * alpha + n * r * beta
    left = (1 - alpha) + (n - n_d) * alpha + (n - n_d) * r * beta
    easy = 4 * delta / (1 - (1 - alpha) / c2) + 8 * delta
    weight = 1 - (n_d / n) ** 2 + (gamma / beta) ** 2 * (n_d / n) ** 2
    return {
        'without_difficult': easy,
        'with_difficult': 4 * delta / (1 - ((1 - alpha) + r * (gamma - beta)) / c1) + 8 * delta,
        'removed': 4 * delta / (1 - (1 - alpha) / left) + 8 * delta,
        'margin': easy,
        'temperature': 4 * weight * delta / (1 - (1 - alpha) / c2) + 8 * delta,
    }


def fraction(bound):
    """The `lambda` of `E = 4 / (1 - lambda) + 8`."""
    return 1 - 4 / (bound - 8)


def test_checked_example():
    found = bounds(EXAMPLE, 1.0, 4)
    assert fraction(found.without_difficult.printed) == pytest.approx(0.02174, abs=5e-6)
    assert fraction(found.with_difficult.printed) == pytest.approx(0.05374, abs=5e-6)
    assert fraction(found.with_difficult.block) == pytest.approx(0.13145, abs=5e-6)
    assert fraction(found.with_difficult.matched) == pytest.approx(0.06005, abs=5e-6)
    assert fraction(bounds(EXAMPLE, 1.0, 7).with_difficult.matched) == pytest.approx(
        0.05239, abs=5e-6
    )


def test_printed_bounds_are_the_papers():
    random = np.random.default_rng(0)
    compared = 0
    while compared < 100:
        model = random_model(random)
        if 0 < model.difficult_per_class < model.samples_per_class and model.beta > 0:
            sizes = (
                model.other_classes,
                model.samples_per_class,
                model.difficult_per_class,
                model.alpha,
                model.beta,
                model.gamma,
            )
            expected = printed(*sizes, 0.07)
            for name, bound in bounds(model, 0.07, 1)._asdict().items():
                assert bound.printed == pytest.approx(expected[name], rel=1e-12), (name, model)
            compared += 1


@pytest.mark.parametrize('structure', STRUCTURES)
@pytest.mark.parametrize('k', [1, 3, 4, 7, 30, 79])
def test_exact_values_are_those_of_eigvalsh(structure, k):
    values = np.linalg.eigvalsh(normalised(adjacency(EXAMPLE, structure)))[::-1]
    expected = 4 * 0.1 / (1 - values[k]) + 0.8
    found = getattr(bounds(EXAMPLE, 0.1, k).with_difficult, structure)
    assert found == pytest.approx(expected, rel=1e-12)


def test_first_theorem_and_removal_are_exact_above_the_classes():
    for k in (4, 20, 63):
        found = bounds(EXAMPLE, 0.1, k)
        for bound in (found.without_difficult, found.removed):
            assert bound.block == pytest.approx(bound.printed, rel=1e-12)
            assert bound.matched == pytest.approx(bound.printed, rel=1e-12)
    below = bounds(EXAMPLE, 0.1, 3).without_difficult
    assert below.block > below.printed * 1.1


def test_one_difficult_sample_makes_the_structures_equal():
    model = dataclasses.replace(EXAMPLE, difficult_per_class=1)
    for k in (2, 4, 10):
        for bound in bounds(model, 0.1, k):
            assert bound.block == pytest.approx(bound.matched, rel=1e-13)


@pytest.mark.parametrize('k', [1, 4, 10])
def test_no_difficult_samples_make_all_bounds_equal(k):
    model = dataclasses.replace(EXAMPLE, difficult_per_class=0)
    found = bounds(model, 0.1, k)
    for bound in found:
        assert bound == found.without_difficult
    helps = conditions(model, k)
    assert not helps.in_range
    assert not helps.removal_helps.holds
    assert not helps.temperature_helps.holds


def test_conditions_are_the_comparisons_of_the_printed_bounds():
    random = np.random.default_rng(1)
    outcomes = set()
    for _ in range(500):
        model = random_model(random)
        model = dataclasses.replace(model, samples_per_class=10 * model.samples_per_class)
        if model.difficult_per_class == 0:
            continue
        found, helps = bounds(model, 0.1, 1), conditions(model, 1)
        kept = found.with_difficult.printed
        assert helps.removal_helps.holds == (found.removed.printed < kept), model
        assert helps.temperature_helps.holds == (found.temperature.printed < kept), model
        outcomes.add((helps.removal_helps.holds, helps.temperature_helps.holds))
    assert len(outcomes) == 4


def test_temperature_reach_is_the_leading_order():
    large = dataclasses.replace(EXAMPLE, samples_per_class=10**8)
    reach = conditions(large, 4).temperature_reach
    assert reach == pytest.approx(0.1 * math.sqrt(10**8 * 3 / (0.9 * 0.45)), rel=1e-12)
    for factor, holds in ((0.999, True), (1.001, False)):
        model = dataclasses.replace(large, difficult_per_class=round(factor * reach))
        assert conditions(model, 4).temperature_helps.holds == holds


def test_range_of_the_theorem():
    assert [conditions(EXAMPLE, k).in_range for k in (3, 4, 7, 8)] == [False, True, True, False]


def holds_up(model, structure, k):
    """Whether printed Theorem 3.4 is an upper bound there; None within rounding."""
    gap = difficult_fraction(model) - spectrum(model, structure).eigenvalue(k + 1)
    return None if abs(gap) < 1e-13 else gap > 0


def test_where_the_printed_bound_holds_is_as_derived():
    """`docs/theory.md`: conditions without any eigenvalue, against the exact spectrum."""
    random = np.random.default_rng(2)
    outcomes = {'block': set(), 'matched': set()}
    for _ in range(500):
        model = random_model(random)
        r, n, n_d = model.other_classes, model.samples_per_class, model.difficult_per_class
        if not 2 <= n_d <= n - 2:
            continue
        rest, level = 1 - model.alpha, model.alpha + r * model.beta
        extra, c2 = r * (model.gamma - model.beta), model.easy_degree
        assert holds_up(model, 'block', r + 2) in (None, n * level > (n_d - 1) * rest)
        if classes_ahead(model, 'block'):
            claim = n_d**2 * level > (n_d - 1) * c2
            assert holds_up(model, 'block', r + 1) in (None, claim), model
            outcomes['block'].add(claim)
        if classes_ahead(model, 'matched'):
            at_last = c2 * (n_d * level - (n_d - 1) * rest)
            at_last += extra * (n_d**2 * level - (n_d - 1) * c2)
            assert not holds_up(model, 'matched', r + 1), model
            assert not holds_up(model, 'matched', r + n_d - 1), model
            assert holds_up(model, 'matched', r + n_d) in (None, at_last > 0), model
            outcomes['matched'].add(at_last > 0)
    # n >= n_d + 2 leaves block no way to hold at k = r+1.
    assert outcomes == {'block': {False}, 'matched': {True, False}}


def test_exact_conditions_for_removal():
    """`docs/theory.md`: at k = r+1, where the eigenvalues of the classes come first."""
    random = np.random.default_rng(3)
    outcomes = {'block': set(), 'matched': set()}
    for _ in range(800):
        model = random_model(random)
        n_d, n_e, r = model.difficult_per_class, model.easy_per_class, model.other_classes
        if n_d < 2 or n_e < 3:
            continue
        rest, level = 1 - model.alpha, model.alpha + r * model.beta
        extra = r * (model.gamma - model.beta)
        found = bounds(model, 1.0, r + 1)
        claims = {
            'block': extra * ((n_e - n_d) * rest + n_e**2 * level) > rest * model.easy_degree,
            'matched': extra * n_e > rest * n_d,
        }
        for structure, claim in claims.items():
            if classes_ahead(model, structure):
                kept = getattr(found.with_difficult, structure)
                assert (getattr(found.removed, structure) < kept) == claim, model
                outcomes[structure].add(claim)
    assert outcomes == {'block': {True, False}, 'matched': {True, False}}


def test_edges_have_values_and_no_nan():
    random = np.random.default_rng(4)
    for _ in range(80):
        model = random_model(random)
        samples = model.num_classes * model.samples_per_class
        for delta, k in ((0.0, 1), (0.0, samples - 1), (1.0, 1), (0.3, samples - 1)):
            values = np.array(bounds(model, delta, k))
            assert not np.any(np.isnan(values))
            assert np.all(values >= 0)
            assert set(values[np.isfinite(values)].ravel()) <= {0.0} or delta


def test_documented_edges():
    assert error_bound(0.0, 0.5) == 0.0
    assert error_bound(0.0, 1.0) == error_bound(0.1, 1.0) == math.inf
    assert error_bound(0.0, 0.5, weight=math.inf) == math.inf
    # Without beta and difficult samples the classes are components of the graph.
    apart = SimilarityModel(4, 20, 0, 0.6, 0.0, 0.35)
    assert bounds(apart, 0.1, 3).with_difficult.block == math.inf
    assert math.isfinite(bounds(apart, 0.1, 4).with_difficult.block)
    no_beta = dataclasses.replace(EXAMPLE, beta=0.0)
    assert bounds(no_beta, 0.1, 4).temperature.printed == math.inf
    assert not conditions(no_beta, 4).temperature_helps.holds
    all_difficult = dataclasses.replace(EXAMPLE, difficult_per_class=20)
    assert set(bounds(all_difficult, 0.1, 4).removed) == {math.inf}
    # One sample a class is left, and k is at least their number: eigenvalue 0.
    few = dataclasses.replace(EXAMPLE, difficult_per_class=19)
    assert bounds(few, 0.1, 4).removed.block == pytest.approx(1.2, rel=1e-13)


def test_refuses_numbers_outside_their_range():
    for k in (0, 80):
        with pytest.raises(ValueError, match=f'feature_dim={k}: must be from 1 to 79'):
            bounds(EXAMPLE, 0.1, k)
    with pytest.raises(ValueError, match=r'labelling_error=1\.5'):
        bounds(EXAMPLE, 1.5, 4)


@pytest.mark.usefixtures('unchecked_types')
def test_a_part_of_a_feature_is_refused():
    with pytest.raises(ValueError, match=r'feature_dim=4\.5: must be from 1 to 79, whole'):
        bounds(EXAMPLE, 0.1, 4.5)
