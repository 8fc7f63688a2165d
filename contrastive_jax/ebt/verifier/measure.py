"""Measures how well scores separate compatible pairs from other pairs.

A high score means compatible. Intervals come from a bootstrap over anchors, because the pairs of
one anchor are not independent.

Axes: m anchors, s partners of each, r resamples.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'calibration_error',
    'gain_by_fraction',
    'gain_by_margin',
    'logistic_calibration',
    'recall_at_1',
    'table',
]

# With 100 the limits move by 0.015 from seed to seed, and with them the sign of small gains.
_RESAMPLES = 2000
# Fractions of the pairs that are rescored, and bins of the calibration error.
_FRACTIONS = (0.01, 0.05, 0.1, 0.25, 1.0)
_BINS = 10

Scores = Float[np.ndarray, 'm s']
Truth = Bool[np.ndarray, 'm s']


def table(scores: Mapping[str, Scores], truth: Truth, *, seed: int = 0) -> dict[str, dict]:
    """Measures ROC-AUC and average precision of each score, and its gain in AUC over the cosine.

    Args:
      scores: scores `[m, s]` by name, among them `cosine`.
      truth: `[m, s]` whether each pair is compatible.
      seed: seed of the resampling.

    Returns:
      By name of the score: `auc`, `gain`, `ap`, and the 95 % intervals `auc_interval` and
      `gain_interval`. An interval is None if all resamples agree, because they then say nothing
      about other anchors. The gain of the cosine is 0. The dict is empty if all pairs are
      compatible or none is.
    """
    if truth.all() or not truth.any():
        return {}
    rng, m = host_rng(Use.VERIFIER_BOOTSTRAP, seed), len(truth)
    counts = np.stack(
        [np.bincount(rng.integers(m, size=m), minlength=m) for _ in range(_RESAMPLES)]
    )
    flat = truth.ravel()
    positives, negatives = counts @ truth.sum(axis=1), counts @ (~truth).sum(axis=1)
    counts = counts[(positives > 0) & (negatives > 0)]
    resampled = {name: _resampled_aucs(score, truth, counts) for name, score in scores.items()}
    return {
        name: {
            'auc': float(roc_auc_score(flat, score.ravel())),
            'auc_interval': _interval(resampled[name]),
            'gain': float(
                roc_auc_score(flat, score.ravel()) - roc_auc_score(flat, scores['cosine'].ravel())
            ),
            'gain_interval': [0.0, 0.0]
            if name == 'cosine'
            else _interval(resampled[name] - resampled['cosine']),
            'ap': float(average_precision_score(flat, score.ravel())),
        }
        for name, score in scores.items()
    }


def _resampled_aucs(
    scores: Scores, truth: Truth, counts: Int[np.ndarray, 'r m']
) -> Float[np.ndarray, ' r']:
    """ROC-AUC of each resample, which holds anchor a `counts[r, a]` times.

        AUC_r = sum_ab n_ra n_rb W_ab / (sum_a n_ra P_a sum_b n_rb N_b)

    The compatible pairs of anchor a win W_ab comparisons with the other pairs of anchor b; a tie
    counts half. P and N are the numbers of compatible and of other pairs of an anchor.
    """
    m = len(truth)
    anchors, compatible = np.repeat(np.arange(m), truth.sum(axis=1)), scores[truth]
    wins = np.empty((m, m))
    for anchor in range(m):
        others = np.sort(scores[anchor, ~truth[anchor]])
        below = np.searchsorted(others, compatible) + np.searchsorted(others, compatible, 'right')
        wins[:, anchor] = np.bincount(anchors, below / 2, minlength=m)
    won = np.sum((counts @ wins) * counts, axis=1)
    return won / ((counts @ truth.sum(axis=1)) * (counts @ (~truth).sum(axis=1)))


def _interval(values: np.ndarray) -> list[float] | None:
    if np.ptp(values) == 0:
        return None
    return np.quantile(values, [0.025, 0.975]).tolist()


def recall_at_1(scores: Mapping[str, Scores], truth: Truth) -> dict[str, float]:
    """Share of the anchors whose partner with the highest score is compatible, by score."""
    rows = np.arange(len(truth))
    return {name: float(truth[rows, score.argmax(1)].mean()) for name, score in scores.items()}


def logistic_calibration(scores: Scores, truth: Truth) -> tuple[float, float]:
    """Fits slope and intercept of `P = sigmoid(slope score + intercept)` by logistic regression."""
    model = LogisticRegression(C=1e6).fit(scores.reshape(-1, 1), truth.ravel())
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def calibration_error(probability: Scores, truth: Truth) -> float:
    """Expected calibration error over ten bins of equal width.

    Source: Naeini et al. 2015.
    """
    p, y = probability.ravel(), truth.ravel()
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    gaps = [abs(p[bins == b].mean() - y[bins == b].mean()) * np.mean(bins == b) for b in set(bins)]
    return float(sum(gaps))


def gain_by_margin(
    scores: Scores, cosine: Scores, truth: Truth, threshold: float, bins: int = 4
) -> list[dict]:
    """Measures the AUC of a score and of the cosine by the distance of the cosine to a threshold.

    Args:
      scores: scores of System 2.
      cosine: cosines, the scores of System 1.
      truth: whether each pair is compatible.
      threshold: cosine of a pair that is as likely compatible as not.
      bins: number of equal parts of the pairs, ordered by their distance to the threshold.

    Returns:
      One dict for each part: the smallest and largest distance as `margin`, and both AUCs.
    """
    margin = np.abs(cosine - threshold).ravel()
    parts = np.array_split(np.argsort(margin, kind='stable'), bins)
    return [
        {
            'margin': [float(margin[part].min()), float(margin[part].max())],
            'cosine': _auc(cosine.ravel()[part], truth.ravel()[part]),
            'system 2': _auc(scores.ravel()[part], truth.ravel()[part]),
        }
        for part in parts
    ]


def gain_by_fraction(
    second: Scores, first: Scores, cosine: Scores, truth: Truth, threshold: float
) -> list[dict]:
    """Measures the AUC if System 2 rescores only the pairs nearest to a threshold of the cosine.

    Args:
      second: calibrated probabilities of System 2.
      first: calibrated probabilities of System 1.
      cosine: cosines, the scores of System 1.
      truth: whether each pair is compatible.
      threshold: cosine of a pair that is as likely compatible as not.

    Returns:
      One dict with `fraction` and `auc` for each fraction of the pairs.
    """
    order = np.argsort(np.abs(cosine - threshold), axis=None, kind='stable')
    rows = []
    for fraction in (0.0, *_FRACTIONS):
        merged = first.ravel().copy()
        chosen = order[: round(fraction * len(order))]
        merged[chosen] = second.ravel()[chosen]
        rows.append({'fraction': fraction, 'auc': _auc(merged, truth.ravel())})
    return rows


def _auc(scores: np.ndarray, truth: np.ndarray) -> float | None:
    both = truth.any() and not truth.all()
    return float(roc_auc_score(truth, scores)) if both else None
