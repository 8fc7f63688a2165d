"""The three measures of a representation: linear probe, few-label probe, nearest neighbours."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from contrastive_jax.evaluation import linear
from contrastive_jax.evaluation.knn import Rule, knn_predict

__all__ = ['Accuracies', 'probe']

_PLAIN = Rule(20)


class Accuracies(NamedTuple):
    """Test accuracies in [0, 1].

    Attributes:
      linear: of the linear probe on all labels.
      few_label: mean over the draws of the few-label probe.
      few_label_std: their standard deviation.
      knn: weighted, `config.probe.neighbours` and `config.probe.knn_temperature`.
      knn20: of 20 neighbours with one vote each.
      l2: strength that the linear probe chose.
    """

    linear: float
    few_label: float
    few_label_std: float
    knn: float
    knn20: float
    l2: float


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
    return Accuracies(
        linear=int(linear.correct(fitted, x_test, test_labels)) / len(test_labels),
        few_label=float(few.mean()),
        few_label_std=float(few.std(ddof=1)) if len(few) > 1 else 0.0,
        knn=knn,
        knn20=knn20,
        l2=l2,
    )
