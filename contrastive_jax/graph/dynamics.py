"""How the difficulty of each sample moves while an encoder learns.

"Forgetting events" without labels: a sample is forgotten when it enters the hardest fifth again.

Axes: l looks at the encoder, n samples.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from contrastive_jax.numerics import percentile_rank

__all__ = ['NEVER', 'SampleDynamics', 'hardest', 'sample_dynamics']

# Share of the samples that counts as hard at a look.
_HARD = 0.2
# In place of an epoch, where a sample was never among the hardest.
NEVER = -1


class SampleDynamics(NamedTuple):
    """Difficulty of each sample over all looks.

    Attributes:
      mean: `[n]` mean score, in [0, 1].
      spread: `[n]` standard deviation of the score over the looks.
      last_entry: `[n]` epoch of the last look at which the sample entered the hardest fifth; -1 if
        it was never there.
      learnability: `[n]` share of the looks that remain after the sample left the hardest fifth for
        good, in [0, 1]: 1 if it was never there, 0 if it is there at the last look.
    """

    mean: Float[np.ndarray, ' n']
    spread: Float[np.ndarray, ' n']
    last_entry: Int[np.ndarray, ' n']
    learnability: Float[np.ndarray, ' n']


def sample_dynamics(
    score: Float[np.ndarray, 'l n'], epochs: Int[np.ndarray, ' l']
) -> SampleDynamics:
    """Summarises the scores of each sample over the looks at an encoder.

    Args:
      score: `[l, n]` difficulty of each sample at each look, high = difficult.
      epochs: `[l]` finished epochs at each look, ascending.

    Returns:
      Four columns `[n]`: mean and spread of the score, float64 in the unit of the score; the epoch
      of the last entry, an integer; and the learnability, float64 in [0, 1].

    Raises:
      ValueError: no look, epochs that do not ascend or are not one for each look, or a score that
        is not finite.
    """
    if score.ndim != 2 or len(score) != len(epochs):
        raise ValueError(
            f'score {list(score.shape)}, {len(epochs)} epochs: need a row of scores for each epoch'
        )
    if not len(epochs) or np.any(np.diff(epochs) <= 0):
        raise ValueError(f'epochs={list(epochs)}: need at least one look, in ascending order')
    if not np.isfinite(score).all():
        look, sample = np.argwhere(~np.isfinite(score))[0]
        raise ValueError(f'score: not finite at epoch {epochs[look]}, first in sample {sample}')
    values = score.astype(np.float64)
    hard = np.stack([hardest(row) for row in values])
    before = np.concatenate([np.zeros_like(hard[:1]), hard[:-1]])
    entry = _last(hard & ~before)
    return SampleDynamics(
        values.mean(axis=0),
        values.std(axis=0),
        np.where(entry < 0, NEVER, epochs[entry]),
        1 - (_last(hard) + 1) / len(epochs),
    )


def hardest(score: Float[np.ndarray, ' n']) -> Bool[np.ndarray, ' n']:
    """Mask of the hardest fifth: the `ceil(n / 5)` highest scores, and those equal to the last.

    The fifth is rounded up and includes ties. `graph.verdicts` has another rule for the verdict
    'between classes': `round(n / 5)` scores, without those that equal the highest one outside.

    Args:
      score: `[n]` difficulty, high = difficult, n of at least 1.

    Returns:
      `[n]` bool, of which at least `ceil(n / 5)` are True.
    """
    rank = percentile_rank(_HARD, len(score))
    return score >= np.partition(score, -rank)[-rank]


def _last(events: Bool[np.ndarray, 'l n']) -> Int[np.ndarray, ' n']:
    """Index of the last look at which each sample has the event; -1 if there is none."""
    looks = len(events)
    return np.where(events.any(axis=0), looks - 1 - np.argmax(events[::-1], axis=0), -1)
