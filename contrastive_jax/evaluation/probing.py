"""Measures a representation by linear probe, few-label probe and nearest neighbours.

Axes: n samples, k features, c classes.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import linear
from contrastive_jax.evaluation.blocks import beside, lay_out
from contrastive_jax.evaluation.knn import VotingRule, nearest_classes
from contrastive_jax.evaluation.validation import Validation, cross_fitted, hold_out
from contrastive_jax.evaluation.whitening import second_moment, span, standardise, whitening_matrix

__all__ = ['Accuracies', 'by_group', 'check_labels_per_class', 'probe']

# Features `[n, k]` and labels `[n]` of some samples.
Labelled = tuple[np.ndarray, np.ndarray]

_PLAIN = VotingRule(20)


class Accuracies(NamedTuple):
    """Test accuracies in [0, 1].

    Attributes:
      linear: accuracy of the linear probe on all labels.
      few_label: mean accuracy of the few-label probe over its random draws.
      few_label_std: standard deviation over these draws; None for a single draw.
      knn: accuracy of weighted neighbours, with `neighbours` and `knn_temperature` of the options.
      knn20: accuracy of 20 neighbours with one vote each.
      l2: L2 strength that the linear probe chose.
      by_class: accuracy of the linear probe in each class; None for a class without test samples.
      validation: accuracies on held-out training samples, to choose settings by; None if they were
        not requested, or if every class has one sample.
    """

    linear: float
    few_label: float
    few_label_std: float | None
    knn: float
    knn20: float
    l2: float
    by_class: tuple[float | None, ...]
    validation: Validation | None


def probe(
    train: Labelled,
    test: Labelled,
    *,
    num_classes: int,
    options: ConfigDict,
    validate: bool = False,
) -> Accuracies:
    """Measures one representation.

    The linear probe chooses the L2 strength that is most accurate on a held-out part of the
    training split, and is then fitted on all of it. No choice depends on the test split.

    Args:
      train: features `[n, k]` and labels `[n]` of the training split.
      test: features and labels of the test split.
      num_classes: number c of classes.
      options: section `probe` of a config.
      validate: whether to measure accuracies on held-out training samples too.

    Returns:
      Test accuracies in [0, 1], and the chosen L2 strength.
    """
    (train_features, train_labels), (test_features, test_labels) = train, test

    knn, knn20 = _knn(train, test, num_classes=num_classes, options=options)
    kept, held_out = hold_out(train_labels, options.validation_share)
    order = np.concatenate([kept, held_out])
    features, x_test = span(*standardise(train_features[order], test_features))
    fitted_on, checked = (
        (features[part], train_labels[order[part]])
        for part in (slice(len(kept)), slice(len(kept), None))
    )
    parts = lay_out([part for part in (fitted_on, checked) if len(part[1])], num_classes)
    moment = np.asarray(second_moment(parts))
    whitenings = {l2: whitening_matrix(moment, l2, num_classes) for l2 in linear.STRENGTHS}

    tried, fits = linear.try_strengths(parts, whitenings, checked, num_classes=num_classes)
    best = int(np.argmax(tried.sum(axis=1)))
    l2 = linear.STRENGTHS[best]
    fitted = linear.fit(
        parts,
        jnp.float32(l2),
        whitenings[l2],
        num_classes=num_classes,
        start=fits[best],
        used=jnp.ones(len(parts), bool),
    )

    def few_label(labels: np.ndarray, places: np.ndarray, other: Labelled) -> np.ndarray:
        """Accuracies on `other` of draws from samples with these places in `features`."""
        drawn = linear.draw_few_labels(labels, options.labels_per_class, options.draws)
        return linear.few_label_accuracies(
            (features[places[drawn]], labels[drawn]),
            whitenings[linear.FEW_LABEL_L2],
            other,
            num_classes=num_classes,
        )

    few = few_label(train_labels, np.argsort(order), (x_test, test_labels))
    validation = None
    if validate and len(held_out):
        plain = ((train_features[part], train_labels[part]) for part in (kept, held_out))
        few_held_out = None
        if np.unique(fitted_on[1], return_counts=True)[1].min() >= options.labels_per_class:
            few_held_out = float(few_label(fitted_on[1], np.arange(len(kept)), checked).mean())
        validation = Validation(
            cross_fitted(tried),
            few_held_out,
            *_knn(*plain, num_classes=num_classes, options=options),
        )
    hits = np.asarray(linear.predict(fitted, x_test)) == test_labels
    return Accuracies(
        linear=float(np.mean(hits)),
        few_label=float(few.mean()),
        few_label_std=float(few.std(ddof=1)) if len(few) > 1 else None,
        knn=knn,
        knn20=knn20,
        l2=l2,
        by_class=tuple(
            float(np.mean(hits[test_labels == c])) if np.any(test_labels == c) else None
            for c in range(num_classes)
        ),
        validation=validation,
    )


def _knn(
    train: Labelled, test: Labelled, *, num_classes: int, options: ConfigDict
) -> tuple[float, float]:
    """Accuracies of weighted nearest neighbours, and of 20 neighbours with one vote each."""
    queries, truth = test
    # No logits are made of them, so one block holds them all.
    (voters,) = lay_out([train], num_classes=1)
    predictions = nearest_classes(
        voters,
        beside(queries, voters),
        num_classes=num_classes,
        rules=(VotingRule(options.neighbours, options.knn_temperature), _PLAIN),
    )
    weighted, plain = (float(np.mean(np.asarray(classes) == truth)) for classes in predictions)
    return weighted, plain


def check_labels_per_class(labels: np.ndarray, count: int, where: str) -> None:
    """Raises UserError unless every class has as many samples as the few-label probe draws.

    Args:
      labels: labels `[n]` of the training split.
      count: labels per class in each draw.
      where: name of the field or flag, for the message.
    """
    _, counts = np.unique(labels, return_counts=True)
    if count > counts.min():
        raise UserError(
            f'{where}={count}: the smallest class has {counts.min()} training images; choose at '
            'most as many'
        )


def by_group(by_class: tuple[float | None, ...], trained: np.ndarray) -> dict[str, float | None]:
    """Mean accuracies of the classes with many, medium and few images, and of all classes.

    The classes are ordered by their number of images in pre-training and divided into thirds. Of
    two classes with equally many images, the first counts as larger.

    Args:
      by_class: `[c]` accuracy in each class; classes with None are left out.
      trained: `[c]` number of pre-training images in each class.

    Returns:
      `many`, `medium`, `few` and `balanced` (all classes): means over classes with equal weights;
      None for a group without classes.
    """
    order = np.argsort(-trained, kind='stable')
    thirds = zip(('many', 'medium', 'few'), np.array_split(order, 3), strict=True)
    groups = {**dict(thirds), 'balanced': order}
    known = {
        name: [by_class[c] for c in group if by_class[c] is not None]
        for name, group in groups.items()
    }
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}
