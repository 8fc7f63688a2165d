"""All scores of a data set in one table of columns.

Axes: n samples, m of them trained on, k features.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from contrastive_jax.graph import scores
from contrastive_jax.graph._inputs import FeatureRows
from contrastive_jax.graph.density import isolation
from contrastive_jax.graph.difficulty import sample_difficulty

__all__ = [
    'bands_and_isolation',
    'class_means',
    'column_summary',
    'hardest_and_easiest',
    'score_columns',
    'score_trained_apart',
]


# Latent classes where the band says nothing of their number.
_CLASSES = 10


def bands_and_isolation(
    features: FeatureRows, *, pos_high: float, pos_low: float
) -> dict[str, np.ndarray]:
    """`sample_difficulty` and `isolation` as columns: score, alpha, beta, gamma, isolation."""
    difficulty = sample_difficulty(features, pos_high=pos_high, pos_low=pos_low)
    columns = {name: np.asarray(values) for name, values in difficulty._asdict().items()}
    return columns | {'isolation': np.asarray(isolation(features))}


def score_columns(
    features: FeatureRows,
    labels: Int[np.ndarray, ' n'] | None = None,
    *,
    pos_high: float,
    pos_low: float,
    latent_classes: str = 'k-means',
    seed: int = 0,
    measure: Callable[..., dict[str, np.ndarray]] = bands_and_isolation,
) -> dict[str, np.ndarray]:
    """Computes every score of each sample, and the statistics that the scores come from.

    Args:
      features: `[n, k]`, any scale.
      labels: `[n]` class of each sample, or None.
      pos_high: where the difficult band begins, as a percentile from the top, in [0, pos_low].
      pos_low: where it ends, from the top too, in [pos_high, 1].
      latent_classes: of `sas`: 'k-means' or 'labels'.
      seed: of k-means.
      measure: function that takes the place of `bands_and_isolation`.

    Returns:
      Columns by name, each `[n]`: score, alpha, beta, gamma, isolation, boundary, latent_class, sas
      and, with labels, label and (of two or more classes) supervised_margin.

    Raises:
      ValueError: percentiles out of order, other latent classes, or by labels without labels, a row
        that is zero or not finite.
    """
    if latent_classes not in ('k-means', 'labels'):
        raise ValueError(f"latent_classes={latent_classes!r}: must be 'k-means' or 'labels'")
    if latent_classes == 'labels' and labels is None:
        raise ValueError("latent_classes='labels': there are no labels; choose k-means")
    columns = measure(features, pos_high=pos_high, pos_low=pos_low)
    if latent_classes == 'labels' and labels is not None:
        latent = labels
    else:
        # The paper advises pos_high = 1 / classes, so this is the number of classes. A band without
        # an upper end says nothing of them.
        n = len(features)
        count = round(min(1 / pos_high, n)) if pos_high else min(_CLASSES, n)
        latent = scores.latent_classes(features, count, seed)
    columns['boundary'] = scores.boundary(columns['score'], columns['isolation'])
    columns |= {'latent_class': latent, 'sas': scores.sas_score(features, latent)}
    if labels is not None:
        columns['label'] = labels
        if len(np.unique(labels)) > 1:
            columns['supervised_margin'] = scores.supervised_margin(features, labels)
    return columns


def score_trained_apart(
    features: FeatureRows,
    labels: Int[np.ndarray, ' n'] | None,
    trained: Int[np.ndarray, ' m'],
    *,
    latent_classes: str = 'k-means',
    **options,
) -> dict[str, np.ndarray]:
    """Scores the samples trained on among themselves, and the other samples among all.

    So the score of a sample trained on does not depend on samples that the run left out.

    Args:
      features: `[n, k]`, any scale.
      labels: `[n]` class of each sample, or None.
      trained: `[m]` rows of the samples that the run trained on.
      latent_classes: of `sas`: 'k-means' or 'labels'.
      **options: the other options of `score_columns`.

    Returns:
      The columns that `score_columns` returns for the samples trained on, each `[n]`.

    Raises:
      ValueError: as `score_columns`, of all samples or of those trained on.
    """
    options['latent_classes'] = latent_classes
    columns = score_columns(features, labels, **options)
    own = score_columns(features[trained], None if labels is None else labels[trained], **options)
    merged = {name: columns[name].copy() for name in own}
    if latent_classes != 'labels':
        # Equal numbers from two runs of k-means do not mean the same class.
        merged['latent_class'] += own['latent_class'].max() + 1
    for name, values in own.items():
        merged[name][trained] = values
    return merged


def column_summary(values: Float[np.ndarray, ' n']) -> dict[str, float]:
    """Mean, least and greatest value, median, and the 10th and 90th percentile."""
    names = ('least', 'p10', 'median', 'p90', 'greatest')
    quantiles = np.quantile(values, [0, 0.1, 0.5, 0.9, 1])
    return {'mean': float(values.mean()), **dict(zip(names, map(float, quantiles), strict=True))}


def class_means(
    score: Float[np.ndarray, ' n'], labels: Int[np.ndarray, ' n'], classes: Sequence[str]
) -> dict[str, float]:
    """Mean score of each class that has samples, by the name of the class."""
    members = {name: score[labels == index] for index, name in enumerate(classes)}
    return {name: float(values.mean()) for name, values in members.items() if len(values)}


def hardest_and_easiest(
    score: Float[np.ndarray, ' n'], members: Int[np.ndarray, ' m'], count: int
) -> tuple[Int[np.ndarray, ' _'], Int[np.ndarray, ' _']]:
    """Indices of the hardest and of the easiest members, from the extreme one inwards.

    Args:
      score: `[n]`, high = difficult.
      members: `[m]` indices to choose from.
      count: how many of each to return; all where there are fewer.

    Returns:
      Two arrays of `min(count, m)` of the members: the hardest first, and the easiest first. Of
      equal scores, the hardest begin with the member that comes first, and the easiest with the one
      that comes last. With `m < 2 count` some members are in both.
    """
    order = members[np.argsort(-score[members], kind='stable')]
    return order[:count], order[::-1][:count]
