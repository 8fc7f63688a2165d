"""Axes: n samples, k features."""

import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.graph import class_cosines as module
from contrastive_jax.graph.class_cosines import cosines_by_class
from contrastive_jax.theory import estimate

BAND = {'pos_high': 0.1, 'pos_low': 0.4}


def _clusters(n=60, k=8, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = rng.normal(size=(classes, k))
    return (1 + centres[labels] + rng.normal(size=(n, k))).astype(np.float32), labels


def test_the_values_are_those_that_the_theory_estimates():
    features, labels = _clusters()
    found = cosines_by_class(jnp.asarray(features), jnp.asarray(labels), **BAND)
    expected = estimate(features, labels, num_bootstrap=3, **BAND)
    for name in ('alpha', 'beta', 'gamma'):
        assert float(getattr(found, name)) == pytest.approx(getattr(expected, name).value, abs=1e-5)


@pytest.mark.parametrize('block_size', [None, 7])
def test_the_purity_counts_the_pairs_of_the_band_that_differ(block_size):
    features, labels = _clusters()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    differ = total = 0
    for i, row in enumerate(unit):
        order = np.argsort(-(unit @ row))
        # Ranks ceil(0.1 * 59) = 6 and ceil(0.4 * 59) = 24, after the sample itself.
        band = order[order != i][6:24]
        differ, total = differ + np.sum(labels[band] != labels[i]), total + len(band)
    found = cosines_by_class(
        jnp.asarray(features), jnp.asarray(labels), block_size=block_size, **BAND
    )
    assert float(found.purity) == pytest.approx(differ / total, abs=1e-3)


def test_of_one_class_there_is_no_other_pair():
    features, labels = _clusters(classes=1)
    found = cosines_by_class(jnp.asarray(features), jnp.asarray(labels), **BAND)
    assert np.isfinite(float(found.alpha))
    assert np.isnan([float(found.beta), float(found.gamma)]).all()
    assert float(found.purity) == 0


def test_more_pairs_than_an_integer_of_32_bits_holds_are_counted(monkeypatch):
    features, labels = map(jnp.asarray, _clusters(n=61))
    expected = cosines_by_class(features, labels, **BAND)

    def many(*arguments):
        # As if each anchor had 50 million times as many pairs of each kind.
        sums, counts = map_anchors(*arguments)
        return [50_000_000 * x for x in sums], [50_000_000 * x for x in counts]

    map_anchors = module.map_anchors
    monkeypatch.setattr(module, 'map_anchors', many)
    found = cosines_by_class(features, labels, **BAND)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
