"""The three measures of a representation: linear probe, few-label probe, nearest neighbours."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import linear
from contrastive_jax.evaluation.knn import Rule, knn_predict

__all__ = ['Accuracies', 'by_group', 'check_labels_per_class', 'probe']

_PLAIN = Rule(20)


class Accuracies(NamedTuple):
    """Test accuracies in [0, 1].

    Attributes:
      linear: of the linear probe on all labels.
      few_label: mean over the draws of the few-label probe.
      few_label_std: their standard deviation; None of a single draw.
      knn: weighted, `config.probe.neighbours` and `config.probe.knn_temperature`.
      knn20: of 20 neighbours with one vote each.
      l2: strength that the linear probe chose.
      by_class: of the linear probe, within each class; None for a class without test samples.
    """

    linear: float
    few_label: float
    few_label_std: float | None
    knn: float
    knn20: float
    l2: float
    by_class: tuple[float | None, ...]


def probe(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
    config,
) -> Accuracies:
    """Measures one representation.

    Args:
      train: features `[n, k]` and labels `[n]` of the training split.
      test: the same of the test split.
      num_classes: c.
      config: the section `probe` of a config.
    """
    (train_features, train_labels), (test_features, test_labels) = train, test

    predictions = knn_predict(
        jnp.asarray(train_features),
        jnp.asarray(train_labels),
        jnp.asarray(test_features),
        num_classes=num_classes,
        rules=(Rule(config.neighbours, config.knn_temperature), _PLAIN),
    )
    knn, knn20 = (float(np.mean(np.asarray(classes) == test_labels)) for classes in predictions)
    standard = linear.standardise(train_features, test_features)
    x_train, x_test = map(np.asarray, linear.principal_axes(*standard))
    l2 = linear.choose_l2(
        x_train,
        train_labels,
        num_classes=num_classes,
        validation_share=config.validation_share,
    )
    fitted = linear.fit(x_train, train_labels, jnp.float32(l2), num_classes=num_classes)
    few = linear.few_label_accuracies(
        (x_train, train_labels),
        (x_test, test_labels),
        num_classes=num_classes,
        labels_per_class=config.labels_per_class,
        draws=config.draws,
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
    )


def check_labels_per_class(labels: np.ndarray, wanted: int, where: str) -> None:
    """Raises UserError unless every class has as many samples as the few-label probe draws.

    Args:
      labels: `[n]` of the training split.
      wanted: samples of each class in a draw.
      where: the field or flag that says so.
    """
    _, counts = np.unique(labels, return_counts=True)
    if wanted > counts.min():
        raise UserError(
            f'{where}={wanted}: the smallest class has {counts.min()} training images; choose at '
            'most as many'
        )


def by_group(by_class: tuple[float | None, ...], trained: np.ndarray) -> dict[str, float | None]:
    """Accuracies of the classes with many, medium and few images, and over all classes alike.

    A third of the classes each, by their images in pre-training; of equal numbers the first class
    counts as larger.

    Args:
      by_class: `[c]` accuracy within each class; None is left out.
      trained: `[c]` images of each class that were pre-trained on.

    Returns:
      `many`, `medium`, `few`, `balanced`: unweighted means over classes, None over no class.
    """
    order = np.argsort(-trained, kind='stable')
    thirds = zip(('many', 'medium', 'few'), np.array_split(order, 3), strict=True)
    groups = {**dict(thirds), 'balanced': order}
    known = {
        name: [by_class[c] for c in group if by_class[c] is not None]
        for name, group in groups.items()
    }
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}
