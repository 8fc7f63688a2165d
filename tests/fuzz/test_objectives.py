"""Losses and selection on strange rows: the value of the formula, or a loss that is no number.

Axes: m rows (view 1, then view 2), d dimensions.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from contrastive_jax.objectives import difficult_band
from tests.fuzz.arrays import matrices, spoiled
from tests.objectives import references
from tests.objectives.test_losses import LOSSES, TEMPERATURE, compiled
from tests.objectives.test_pairs import matrix_and_band

M, D = 12, 5
LABELS = jnp.asarray(np.tile(np.arange(M // 2) % 3, 2))
REFERENCES = {
    'nt_xent': lambda z: references.nt_xent(z, TEMPERATURE),
    'hard_negative': lambda z: references.hard_negative(z, TEMPERATURE, 0.1, 1.0),
    'decoupled': lambda z: references.decoupled(z, TEMPERATURE, np.ones(M // 2)),
    'supervised': lambda z: references.supervised(z, np.asarray(LABELS), TEMPERATURE),
}
every_loss = pytest.mark.parametrize('name', [name for name in LOSSES if 'spectral' not in name])


@every_loss
@given(z=matrices(M, D, zeros=True))
def test_any_finite_rows_have_a_finite_loss_and_gradient(name, z):
    (loss, metrics), gradient = compiled(name)(jnp.asarray(z), jnp.asarray(z), LABELS)
    assert np.isfinite(loss)
    assert all(np.isfinite(metric) for metric in metrics.values())
    # The gradient of a direction by a row of length 1e-20 is 1e20 long, and still a float32.
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize('name', REFERENCES)
@given(z=matrices(M, D, zeros=True))
def test_any_finite_rows_have_the_loss_of_the_formula(name, z):
    (loss, _), _ = compiled(name)(jnp.asarray(z), jnp.asarray(z), LABELS)
    # A float32 cosine is within 2e-7; over the temperature, twice.
    np.testing.assert_allclose(loss, REFERENCES[name](z), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('name', LOSSES)
@given(z=spoiled(M, D))
def test_a_row_that_is_no_number_never_has_a_quiet_loss(name, z):
    (loss, _), _ = compiled(name)(jnp.asarray(z), jnp.asarray(np.nan_to_num(z)), LABELS)
    assert not np.isfinite(loss)


@given(features=matrices(M, D, zeros=True))
def test_the_band_holds_its_share_of_any_finite_features(features):
    """Ties widen a band or empty it, but never turn it round."""
    whole, band = matrix_and_band(jnp.asarray(features), pos_high=0.0, pos_low=1.0)
    np.testing.assert_array_equal(band, references.all_negatives(M))
    np.testing.assert_array_equal(whole, references.all_negatives(M))
    for chosen in matrix_and_band(jnp.asarray(features), pos_high=0.2, pos_low=0.6):
        similarity = references.similarities(features)
        for row, picked, others in zip(similarity, chosen, whole, strict=True):
            picked, rest = np.asarray(picked), np.asarray(others & ~picked)
            # What is not chosen lies above all that is, or below.
            low, high = (row[picked].min(), row[picked].max()) if picked.any() else (0, 0)
            inside = (row > low + 1e-6) & (row < high - 1e-6)
            assert not np.any(rest & inside)


@given(features=spoiled(M, D))
def test_thresholds_of_features_that_are_no_numbers_are_none(features):
    """So a watch on the thresholds, which are logged, sees them."""
    band = difficult_band(jnp.asarray(features), pos_high=0.2, pos_low=0.6)
    cuts = np.concatenate([np.ravel(leaf) for leaf in (band.high, band.low)])
    assert np.isnan(cuts).any()
