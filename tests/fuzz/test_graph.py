"""Scores and subsets on strange features: the value of the definition, or a refusal.

Axes: n samples, k features.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastive_jax.graph import isolation, sample_difficulty, scores, subsets
from tests.fuzz.arrays import matrices, spoiled
from tests.graph import references

N, K = 12, 5
HIGH, LOW = 0.2, 0.6
partitions = st.lists(st.integers(-2, 3), min_size=N, max_size=N).map(np.array)


DIFFICULTY = functools.partial(sample_difficulty, pos_high=HIGH, pos_low=LOW)


def _gaps_at_the_cuts(features):
    """`[n]` the smaller gap between the cosine at a cut and the next, of both cuts, uncentred."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.sort(unit @ unit.T - 3 * np.eye(len(unit)), axis=1)[:, :0:-1]
    ranks = [math.ceil(share * (N - 1)) for share in (HIGH, LOW)]
    return np.min([cosines[:, rank - 1] - cosines[:, rank] for rank in ranks], axis=0)


@given(features=matrices(N, K, zeros=False))
def test_difficulty_is_its_definition(features):
    found = DIFFICULTY(jnp.asarray(features), center=False)
    for value in found:
        assert np.all(np.isfinite(value))
    assert np.all((found.score >= 0) & (found.score <= 1))
    exact = np.asarray(features, np.float64)
    wanted = references.sample_difficulty(exact, HIGH, LOW, center=False)
    # A tie at a cut is decided by rounding: there the definition has no one value in float32.
    clear = _gaps_at_the_cuts(exact) > 1e-5
    for name, column in zip(('alpha', 'beta', 'gamma'), wanted.T[1:], strict=True):
        np.testing.assert_allclose(getattr(found, name)[clear], column[clear], atol=2e-6)


@pytest.mark.parametrize('function', [DIFFICULTY, isolation], ids=['difficulty', 'isolation'])
@given(features=matrices(N, K, zeros=True), bad=st.booleans(), poison=spoiled(N, K))
def test_a_score_is_a_number_or_refused(function, features, bad, poison):
    features = poison if bad else features
    if bad or np.any(np.all(features == 0, axis=1)):
        with pytest.raises(ValueError, match='row'):
            function(jnp.asarray(features))
    else:
        found = function(jnp.asarray(features))
        assert all(np.all(np.isfinite(value)) for value in jax.tree.leaves(found))


score_lists = st.lists(
    st.one_of(st.integers(-2, 2).map(float), st.floats(width=32, allow_nan=False)), min_size=1
)


@given(score=score_lists, ratio=st.floats(0, 1, exclude_max=True))
def test_what_is_removed_is_the_most_difficult(score, ratio):
    score = np.array(score, np.float32)
    kept = subsets.most_difficult_removed(score, ratio)
    gone = np.setdiff1d(np.arange(len(score)), kept)
    assert len(gone) <= ratio * len(score) + 1e-6 < len(gone) + 1 + 2e-6
    assert np.all(np.diff(kept) > 0)
    if len(gone):
        assert score[gone].min() >= score[kept].max()
    smaller = subsets.most_difficult_removed(score, ratio / 2)
    assert set(kept) <= set(smaller)
    assert len(subsets.random_subset(len(score), ratio, seed=0)) == len(kept)


@given(score=score_lists, place=st.integers(0, 100), ratio=st.floats())
def test_a_score_of_nan_and_a_ratio_out_of_range_are_refused(score, place, ratio):
    score = np.array(score, np.float32)
    if not 0 <= ratio < 1:
        with pytest.raises(ValueError, match='ratio'):
            subsets.most_difficult_removed(score, ratio)
    score[place % len(score)] = np.nan
    with pytest.raises(ValueError, match='NaN'):
        subsets.most_difficult_removed(score, 0.1)


@given(
    features=matrices(N, K, zeros=False),
    partition=partitions,
    fraction=st.sampled_from([0.5, 0.7, 1.0]),
    objective=st.sampled_from(['released', 'graph_cut']),
)
def test_sas_covers_each_class_whatever_the_features(features, partition, fraction, objective):
    kept = subsets.sas(features, partition, fraction, objective)
    assert np.all(np.diff(kept) > 0)
    for name in np.unique(partition):
        of_class = np.sum(partition == name)
        assert abs(np.sum(partition[kept] == name) - fraction * of_class) <= 1
    assert np.all(np.isfinite(scores.sas_score(features, partition)))


@given(poison=spoiled(N, K), partition=partitions)
def test_features_that_are_no_numbers_are_refused_everywhere(poison, partition):
    for function in (
        lambda: subsets.sas(poison, partition, 0.5),
        lambda: scores.sas_score(poison, partition),
        lambda: scores.supervised_margin(poison, partition),
        lambda: scores.latent_classes(poison, 3, 0),
    ):
        with pytest.raises(ValueError, match='row'):
            function()
