import dataclasses

import jax
import numpy as np
import pytest

from contrastive_jax.theory import (
    SimilarityModel,
    Spectrum,
    adjacency,
    normalised,
    optimal_margin,
    optimal_temperature,
    spectrum,
    treated_adjacency,
    treated_spectrum,
)
from tests.theory.models import EXAMPLE, STRUCTURES, random_model


def eigenvalues(matrix):
    return np.linalg.eigvalsh(matrix)[::-1]


@pytest.mark.parametrize('structure', STRUCTURES)
def test_closed_form_is_eigvalsh_on_random_models(structure):
    random = np.random.default_rng(0)
    for _ in range(200):
        model = random_model(random)
        found = spectrum(model, structure).expanded()
        dense = eigenvalues(normalised(adjacency(model, structure)))
        np.testing.assert_allclose(found, dense, rtol=0, atol=1e-13, err_msg=str(model))


@pytest.mark.parametrize('structure', STRUCTURES)
def test_treated_closed_form_is_eigvalsh_on_random_models(structure):
    random = np.random.default_rng(1)
    for _ in range(200):
        model = random_model(random)
        strength = {
            'margin': float(random.uniform(0, 2)) * optimal_margin(model, structure),
            'temperature': float(random.uniform()),
        }
        found = treated_spectrum(model, structure, **strength).expanded()
        dense = eigenvalues(treated_adjacency(model, structure, **strength))
        np.testing.assert_allclose(found, dense, rtol=0, atol=1e-13, err_msg=str(model))


def test_checked_example():
    assert spectrum(EXAMPLE.without_difficult(), 'block').eigenvalue(5) == pytest.approx(
        0.02174, abs=5e-6
    )
    block = spectrum(EXAMPLE, 'block').expanded()
    np.testing.assert_allclose(block[4:9], [0.13145] + 4 * [0.02174], atol=5e-6)
    matched = spectrum(EXAMPLE, 'matched').expanded()
    np.testing.assert_allclose(matched[4:9], 3 * [0.06005] + [0.05239, 0.02174], atol=5.1e-6)
    # ((1-alpha) + r (gamma-beta)) / (c2 + r (gamma-beta))
    assert matched[4] == pytest.approx((0.4 + 0.75) / (18.4 + 0.75), rel=1e-13)


@pytest.mark.parametrize('structure', STRUCTURES)
def test_sizes_beyond_any_matrix(structure):
    model = SimilarityModel(1000, 10**6, 10**5, 0.6, 0.1, 0.35)
    found = spectrum(model, structure)
    assert found.multiplicities.sum() == 10**9
    assert found.eigenvalue(1) == pytest.approx(1, abs=1e-13)
    # The trace of the graph: each sample's 1 over its degree.
    trace = 1000 * (9e5 / model.easy_degree + 1e5 / model.difficult_degree(structure))
    assert found.values @ found.multiplicities == pytest.approx(trace, rel=1e-6)


@pytest.mark.parametrize('structure', STRUCTURES)
def test_number_above_the_easy_eigenvalue(structure):
    # docs/theory.md: r + 2 for block, r + 1 + n_d for matched, with easy and difficult samples.
    random = np.random.default_rng(2)
    for _ in range(300):
        model = random_model(random)
        n_d, r = model.difficult_per_class, model.other_classes
        if 0 < n_d < model.samples_per_class:
            values, multiplicities = spectrum(model, structure)
            above = multiplicities[values > (1 - model.alpha) / model.easy_degree * (1 + 1e-9)]
            assert above.sum() == r + 1 + (1 if structure == 'block' else n_d), model


def test_noise_zero_is_the_limit_of_noise():
    clean = spectrum(EXAMPLE, 'matched').expanded()
    noisy = spectrum(EXAMPLE, 'matched', noise=1e-6, key=jax.random.key(0)).expanded()
    assert 0 < np.max(np.abs(noisy - clean)) < 1e-5
    assert noisy[0] == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize('structure', STRUCTURES)
def test_optimal_treatments_give_the_easy_entry(structure):
    easy = EXAMPLE.beta / EXAMPLE.easy_degree
    pairs = adjacency(EXAMPLE, structure) == EXAMPLE.gamma
    for strength in (
        {'margin': optimal_margin(EXAMPLE, structure)},
        {'temperature': optimal_temperature(EXAMPLE, structure)},
    ):
        treated = treated_adjacency(EXAMPLE, structure, **strength)
        np.testing.assert_allclose(treated[pairs], easy, rtol=1e-13)


def test_block_treatments_are_the_printed_ones():
    r, n, n_d, alpha, beta, gamma = 3, 20, 4, 0.6, 0.1, 0.35
    c2 = (1 - alpha) + n * alpha + n * r * beta
    c1 = c2 + n_d * r * (gamma - beta)
    c0 = (1 - alpha) + n * alpha + (n - n_d) * r * beta
    assert optimal_margin(EXAMPLE) == pytest.approx(c0 / (c1**2 * c2) * (gamma - beta), rel=1e-13)
    assert optimal_temperature(EXAMPLE) == pytest.approx(c1 / c2 * beta / gamma, rel=1e-13)


@pytest.mark.parametrize('structure', STRUCTURES)
def test_treated_losses_factorise_the_treated_graph(structure):
    """Theorems 4.2 and 4.4: loss and factorisation differ by a number without the outputs f."""
    random = np.random.default_rng(3)
    model = dataclasses.replace(EXAMPLE, num_classes=3, samples_per_class=5, difficult_per_class=2)
    graph = adjacency(model, structure)
    pairs = (graph == model.gamma).astype(float)
    weight = graph.sum(axis=1)
    margin, temperature = 0.02, 0.6
    rho = np.where(pairs > 0, temperature, 1.0)
    differences = {'margin': [], 'temperature': []}
    for _ in range(4):
        f = random.normal(size=(15, 3))
        inner, factor = f @ f.T, np.sqrt(weight)[:, None] * f
        for name, output, scale, strength in (
            ('margin', inner + margin * pairs, 1.0, {'margin': margin}),
            ('temperature', inner / rho, 1 / rho**2, {'temperature': temperature}),
        ):
            attract = -2 * np.sum(graph * output)
            repel = np.sum(weight[:, None] * weight * output**2)
            target = treated_adjacency(model, structure, **strength)
            factorised = np.sum(scale * (target - factor @ factor.T) ** 2)
            differences[name].append(attract + repel - factorised)
    for found in differences.values():
        np.testing.assert_allclose(found, found[0], rtol=1e-10)


@pytest.mark.parametrize('structure', STRUCTURES)
def test_margin_equals_no_difficult_exactly_when_derived(structure):
    # Theorem 4.3 at k = r+1 is exact if and only if h r beta <= 1 - alpha.
    random = np.random.default_rng(4)
    outcomes = set()
    for _ in range(300):
        model = random_model(random)
        if model.difficult_per_class == 0 or model.easy_per_class < 2:
            continue
        r = model.other_classes
        treated = treated_spectrum(model, structure, margin=optimal_margin(model, structure))
        difference = treated.eigenvalue(r + 2) - (1 - model.alpha) / model.easy_degree
        equal = model.partners(structure) * r * model.beta <= 1 - model.alpha
        assert (abs(difference) < 1e-15) == equal, model
        assert difference > -1e-15
        outcomes.add(equal)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    ('structure', 'share', 'order'),
    [('block', None, -2), ('block', 5, 0), ('matched', None, -2), ('matched', 5, -2)],
)
def test_order_of_the_margin_in_n(structure, share, order):
    sizes, distances = [2000, 4000, 8000], []
    for n in sizes:
        n_d = n // share if share else 4
        model = dataclasses.replace(
            EXAMPLE, num_classes=10, samples_per_class=n, difficult_per_class=n_d
        )
        treated = treated_spectrum(model, structure, margin=optimal_margin(model, structure))
        easy = (1 - model.alpha) / model.easy_degree
        distances.append(treated.eigenvalue(11) - easy)
    slope = np.polyfit(np.log(sizes), np.log(distances), 1)[0]
    assert slope == pytest.approx(order, abs=0.02)


def test_eigenvalue_counts_from_one_and_ends_in_zero():
    found = Spectrum(np.array([1.0, 0.5]), np.array([1, 2]))
    assert [found.eigenvalue(i) for i in (1, 2, 3, 4)] == [1.0, 0.5, 0.5, 0.0]
    with pytest.raises(ValueError, match='index=0'):
        found.eigenvalue(0)


@pytest.mark.parametrize('strength', [{'margin': -1.0}, {'margin': np.nan}, {'temperature': -1.0}])
def test_a_treatment_that_is_none_is_refused(strength):
    (name,) = strength
    with pytest.raises(ValueError, match=f'{name}='):
        treated_spectrum(EXAMPLE, 'block', **strength)
    with pytest.raises(ValueError, match=f'{name}='):
        treated_adjacency(EXAMPLE, 'block', **strength)
