"""The similarity model of the paper: graphs, exact spectra, bounds, estimates.

The figures are in `contrastive_jax.reporting.theory_figures`, which alone needs matplotlib.
"""

from contrastive_jax.theory.error_bounds import (
    Bound,
    Bounds,
    Condition,
    Conditions,
    bounds,
    conditions,
    error_bound,
)
from contrastive_jax.theory.estimates import Estimate, Interval, estimate, fitted_model
from contrastive_jax.theory.model import SimilarityModel, Structure, adjacency, normalised
from contrastive_jax.theory.spectra import (
    Spectrum,
    optimal_margin,
    optimal_temperature,
    spectrum,
    treated_adjacency,
    treated_spectrum,
)

__all__ = [
    'Bound',
    'Bounds',
    'Condition',
    'Conditions',
    'Estimate',
    'Interval',
    'SimilarityModel',
    'Spectrum',
    'Structure',
    'adjacency',
    'bounds',
    'conditions',
    'error_bound',
    'estimate',
    'fitted_model',
    'normalised',
    'optimal_margin',
    'optimal_temperature',
    'spectrum',
    'treated_adjacency',
    'treated_spectrum',
]
