"""How well scores of pairs tell compatible pairs from others.

A score is high where a pair is compatible. Intervals are of the bootstrap over anchors, so that
pairs of one anchor, which are not independent, stay together.

Axes: m anchors, s partners of each.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from contrastive_jax.randomness import Use, host_rng

__all__ = [
    'calibrated',
    'calibration_error',
    'gain_by_fraction',
    'gain_by_margin',
    'recall_at_1',
    'table',
]

_RESAMPLES = 100
_FRACTIONS = (0.01, 0.05, 0.1, 0.25, 1.0)
_BINS = 10

Scores = Float[np.ndarray, 'm s']
Truth = Bool[np.ndarray, 'm s']


def table(
    scores: Mapping[str, Scores], truth: Truth, *, beside: str = 'cosine', seed: int = 0
) -> dict[str, dict]:
    """ROC-AUC and average precision of each score, and the gain in AUC beside one of them.

    Args:
      scores: `[m, s]` by name.
      truth: `[m, s]` which pairs are compatible.
      beside: the score that gains are differences to.
      seed: of the resampling.

    Returns:
      By name `auc`, `ap`, and 95 % intervals `auc_interval` and `gain_interval`, None where all
      resamples agree: they then say nothing about other anchors. The gain of `beside` is 0 by
      definition. Nothing where all pairs are alike.
    """
    if truth.all() or not truth.any():
        return {}
    rng, m = host_rng(Use.VERIFIER_BOOTSTRAP, seed), len(truth)
    counts = [np.bincount(rng.integers(m, size=m), minlength=m) for _ in range(_RESAMPLES)]
    weights = [np.repeat(count, truth.shape[1]) for count in counts]
    flat = truth.ravel()
    weights = [w for w in weights if 0 < w @ flat < w.sum()]
    resampled = {
        name: np.array([roc_auc_score(flat, score.ravel(), sample_weight=w) for w in weights])
        for name, score in scores.items()
    }
    return {
        name: {
            'auc': float(roc_auc_score(flat, score.ravel())),
            'auc_interval': _interval(resampled[name]),
            'gain': float(
                roc_auc_score(flat, score.ravel()) - roc_auc_score(flat, scores[beside].ravel())
            ),
            'gain_interval': [0.0, 0.0]
            if name == beside
            else _interval(resampled[name] - resampled[beside]),
            'ap': float(average_precision_score(flat, score.ravel())),
        }
        for name, score in scores.items()
    }


def _interval(values: np.ndarray) -> list[float] | None:
    if np.ptp(values) == 0:
        return None
    return np.quantile(values, [0.025, 0.975]).tolist()


def recall_at_1(scores: Mapping[str, Scores], truth: Truth) -> dict[str, float]:
    """Share of anchors whose best partner by a score is compatible."""
    rows = np.arange(len(truth))
    return {name: float(truth[rows, score.argmax(1)].mean()) for name, score in scores.items()}


def calibrated(scores: Scores, truth: Truth) -> tuple[float, float]:
    """Slope and intercept of `P = sigmoid(slope score + intercept)`, by logistic regression."""
    model = LogisticRegression(C=1e6).fit(scores.reshape(-1, 1), truth.ravel())
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def calibration_error(probability: Scores, truth: Truth) -> float:
    """Expected calibration error over ten equal bins of probability.

    Source: Naeini et al. 2015.
    """
    p, y = probability.ravel(), truth.ravel()
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    gaps = [abs(p[bins == b].mean() - y[bins == b].mean()) * np.mean(bins == b) for b in set(bins)]
    return float(sum(gaps))


def gain_by_margin(
    scores: Scores, cosine: Scores, truth: Truth, threshold: float, bins: int = 4
) -> list[dict]:
    """AUC of a score and of the cosine by how far the cosine is from undecided.

    Args:
      scores: of System 2.
      cosine: of System 1.
      truth: which pairs are compatible.
      threshold: the cosine of an undecided pair.
      bins: equal parts of the pairs, the nearest to the threshold first.
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
    """AUC where only the pairs nearest to undecided are rescored.

    Args:
      second: calibrated probabilities of System 2.
      first: those of System 1.
      cosine: of System 1.
      truth: which pairs are compatible.
      threshold: the cosine of an undecided pair.
    """
    order = np.argsort(np.abs(cosine - threshold), axis=None, kind='stable')
    found = []
    for fraction in (0.0, *_FRACTIONS):
        merged = first.ravel().copy()
        chosen = order[: round(fraction * len(order))]
        merged[chosen] = second.ravel()[chosen]
        found.append({'fraction': fraction, 'auc': _auc(merged, truth.ravel())})
    return found


def _auc(scores: np.ndarray, truth: np.ndarray) -> float | None:
    both = truth.any() and not truth.all()
    return float(roc_auc_score(truth, scores)) if both else None
