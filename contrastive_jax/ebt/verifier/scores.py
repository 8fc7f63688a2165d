"""Scores the difficulty of each image by the energies of its band.

Axes: n images, s partners of each, k features.
"""

import numpy as np
from jaxtyping import Float

from contrastive_jax import graph
from contrastive_jax.graph.difficulty import RESOLUTION

__all__ = ['energy_scores']


def energy_scores(
    features: Float[np.ndarray, 'n k'],
    residual: Float[np.ndarray, 'n s'],
    probability: Float[np.ndarray, 'n s'],
    gain: Float[np.ndarray, 'n s'],
    motion: Float[np.ndarray, 'n s'],
    *,
    pos_high: float,
    pos_low: float,
    temperature: float,
) -> dict[str, np.ndarray]:
    """Scores each image by the cosines of its band, corrected by the energies.

        score_i = (gamma_i - tau mean_j E_ij - beta_i) / (alpha_i - beta_i)

    System 2 replaces the cosine by `cos - tau E`, since F = -cos / tau + E. With E = 0 the score is
    that of `graph.sample_difficulty` before it is clipped to [0, 1]. The cosines outside the band
    are not corrected.

    Args:
      features: encoder features `[n, k]`.
      residual: E of each image and partners spread over its band, `[n, s]`.
      probability: probability P = `sigmoid(c - F)` of each of these pairs, `[n, s]`.
      gain: G_K of each pair, `[n, s]`.
      motion: d_K of each pair, `[n, s]`.
      pos_high: percentile at which the band begins. Percentiles count from the top: 0.1 is the most
        similar tenth.
      pos_low: percentile at which the band ends, from the top too.
      temperature: temperature tau.

    Returns:
      Columns `[n]`: `score`, where high values mean difficult, and the means over the band
      `compatibility` of P, `energy_gain` of G_K and `motion` of d_K.
    """
    cosines = graph.sample_difficulty(features, pos_high=pos_high, pos_low=pos_low)
    alpha, beta, gamma = (
        np.asarray(mean, np.float64) for mean in (cosines.alpha, cosines.beta, cosines.gamma)
    )
    distance = alpha - beta
    corrected = gamma - temperature * residual.mean(axis=1, dtype=np.float64) - beta
    score = np.where(distance < RESOLUTION, 0, corrected / np.maximum(distance, RESOLUTION))
    return {
        'score': score,
        'compatibility': probability.mean(axis=1),
        'energy_gain': gain.mean(axis=1),
        'motion': motion.mean(axis=1),
    }
