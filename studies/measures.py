"""Statistics that several studies share."""

import statistics
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from contrastive_jax.randomness import Use, legacy_rng
from contrastive_jax.reporting.statistics import paired

__all__ = ['held_out', 'interval', 'spread']


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation, as the tables show them; one value has no deviation."""
    deviation = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.{digits}f}{deviation}'


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % t-interval of the mean over the seeds; None of fewer than three, or of equal values."""
    by_seed = dict(enumerate(map(float, values)))
    return paired(by_seed, dict.fromkeys(by_seed, 0.0)).interval


def held_out(features, labels, method: str) -> np.ndarray:
    """What a logistic regression says of each sample when it was fitted without the sample's fold.

    Args:
      features: `[n, k]`.
      labels: `[n]`.
      method: 'predict_proba' or 'predict_log_proba'.

    Returns:
      `[n, classes]`.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=legacy_rng(Use.BENCHMARK_FOLDS, 0))
    return cross_val_predict(model, features, labels, cv=folds, method=method)
