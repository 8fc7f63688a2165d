import dataclasses

import jax
import numpy as np
import pytest

from contrastive_jax.theory import SimilarityModel, adjacency, normalised
from tests.theory.models import EXAMPLE, STRUCTURES


@pytest.mark.parametrize('structure', STRUCTURES)
def test_adjacency_counts_every_kind_of_pair(structure):
    r, n, n_d = 3, 20, 4
    matrix = adjacency(EXAMPLE, structure)
    difficult = r * (r + 1) * (n_d**2 if structure == 'block' else n_d)
    assert np.sum(matrix == 1) == (r + 1) * n
    assert np.sum(matrix == EXAMPLE.alpha) == (r + 1) * n * (n - 1)
    assert np.sum(matrix == EXAMPLE.gamma) == difficult
    assert np.sum(matrix == EXAMPLE.beta) == r * (r + 1) * n**2 - difficult
    np.testing.assert_array_equal(matrix, matrix.T)


def test_matched_pairs_are_the_ith_of_each_class():
    model = SimilarityModel(3, 4, 2, 0.6, 0.1, 0.35)
    rows, columns = np.nonzero(adjacency(model, 'matched') == model.gamma)
    np.testing.assert_array_equal(rows % 4, columns % 4)
    assert set(rows % 4) == {0, 1}


@pytest.mark.parametrize('structure', STRUCTURES)
def test_degrees_are_the_row_sums(structure):
    sums = adjacency(EXAMPLE, structure).sum(axis=1).reshape(4, 20)
    np.testing.assert_allclose(sums[:, :4], EXAMPLE.difficult_degree(structure), rtol=1e-14)
    np.testing.assert_allclose(sums[:, 4:], EXAMPLE.easy_degree, rtol=1e-14)


def test_noise_is_symmetric_with_unit_variance():
    clean = adjacency(EXAMPLE, 'block')
    noise = (adjacency(EXAMPLE, 'block', noise=0.5, key=jax.random.key(0)) - clean) / 0.5
    np.testing.assert_array_equal(noise, noise.T)
    upper = noise[np.triu_indices(len(noise))]  # 3240 independent entries
    assert abs(np.mean(upper)) < 4 / np.sqrt(3240)
    assert abs(np.var(upper) - 1) < 4 * np.sqrt(2 / 3240)
    assert abs(np.var(np.diag(noise)) - 1) < 4 * np.sqrt(2 / 80)


def test_same_key_gives_the_same_noise():
    draws = [adjacency(EXAMPLE, 'block', noise=0.1, key=jax.random.key(s)) for s in (3, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.any(draws[0] != draws[2])


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('num_classes', 1),
        ('samples_per_class', 0),
        ('difficult_per_class', -1),
        ('difficult_per_class', 21),
        ('alpha', 1.0),
        ('alpha', float('nan')),
        ('gamma', 0.6),
        ('gamma', 0.0),
        ('beta', -0.01),
        ('beta', 0.35),
    ],
)
def test_refuses_what_the_theory_does_not_cover(field, value):
    with pytest.raises(ValueError, match=f'{field}={value}: must'):
        dataclasses.replace(EXAMPLE, **{field: value})


@pytest.mark.usefixtures('unchecked_types')
def test_numbers_of_numpy_become_those_of_python():
    sizes = map(np.int8, (4, 100, 50))
    model = SimilarityModel(*sizes, np.float64(0.6), 0.1, 0.35)
    assert {type(value) for value in dataclasses.astuple(model)} == {int, float}
    assert model == SimilarityModel(4, 100, 50, 0.6, 0.1, 0.35)


def test_refuses_noise_without_key_or_below_zero():
    with pytest.raises(ValueError, match='needs a key'):
        adjacency(EXAMPLE, 'block', noise=0.1)
    with pytest.raises(ValueError, match=r'noise=-0\.1'):
        adjacency(EXAMPLE, 'block', noise=-0.1, key=jax.random.key(0))


def test_normalised_refuses_rows_that_sum_to_nothing():
    with pytest.raises(ValueError, match='smallest row sum'):
        normalised(np.array([[1.0, -2.0], [-2.0, 1.0]]))


def test_removed_takes_difficult_samples_first():
    assert EXAMPLE.removed(3) == dataclasses.replace(
        EXAMPLE, samples_per_class=17, difficult_per_class=1
    )
    assert EXAMPLE.removed(6) == dataclasses.replace(
        EXAMPLE, samples_per_class=14, difficult_per_class=0
    )
