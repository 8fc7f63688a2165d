"""How difficult each image is, by the energies of its band.

Axes: n images, s partners of each, k features.
"""

import numpy as np
from jaxtyping import Float

from contrastive_jax import graph

__all__ = ['energy_scores']

_RESOLUTION = 2.0**-20


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
    """Difficulty of each image, the cosines of its band corrected by their energies.

        score_i = (gamma_i - tau mean_j E_ij - beta_i) / (alpha_i - beta_i)

    F = -cos / tau + E, so System 2 puts `cos - tau E` in the place of the cosine. With E = 0 this
    is `graph.sample_difficulty`, before it is cut to [0, 1]; outside the band the cosines stay as
    they are.

    Args:
      features: `[n, k]` of the encoder.
      residual: `[n, s]`, E of partners spread over the band.
      probability: `[n, s]`, `sigmoid(c - F)`.
      gain: `[n, s]`, G_K.
      motion: `[n, s]`, d_K.
      pos_high: where the band begins, as a percentile from the top: 0.1 is the most similar tenth.
      pos_low: where it ends, from the top too.
      temperature: tau.

    Returns:
      `score`, high = difficult, and by themselves the means over the band: `compatibility` of P,
      `energy_gain` of G_K, `motion` of d_K; each `[n]`.
    """
    found = graph.sample_difficulty(features, pos_high=pos_high, pos_low=pos_low)
    alpha, beta, gamma = (np.asarray(x, np.float64) for x in (found.alpha, found.beta, found.gamma))
    distance = alpha - beta
    corrected = gamma - temperature * residual.mean(axis=1, dtype=np.float64) - beta
    score = np.where(distance < _RESOLUTION, 0, corrected / np.maximum(distance, _RESOLUTION))
    return {
        'score': score,
        'compatibility': probability.mean(axis=1),
        'energy_gain': gain.mean(axis=1),
        'motion': motion.mean(axis=1),
    }
