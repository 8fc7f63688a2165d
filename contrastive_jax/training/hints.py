"""Warnings about settings that are allowed but rarely intended, printed before a run begins."""

import jax
import numpy as np
from ml_collections import ConfigDict

from contrastive_jax.data.sources import Dataset, Split
from contrastive_jax.numerics import percentile_rank

__all__ = ['advice']

# Share of the training images that may vote in the kNN probe without a warning.
_VOTERS = 0.25
# Largest relative step of LARS without a warning; configs/cifar.py has 0.016.
_LARGE_STEP = 0.033
# Number of classes that a warning names.
_NAMED = 3
# Losses that assume a class prior.
_WITH_PRIOR = ('debiased', 'hard_negative')


def advice(config: ConfigDict, dataset: Dataset, trained: Split) -> list[str]:
    """Returns one warning for each setting that rarely fits the data.

    Args:
      config: the whole config, validated.
      dataset: images that the probes use, and names of the classes.
      trained: images that the run trains on.

    Returns:
      One line for each warning; none if every setting fits.
    """
    lines = []
    if config.data.name == 'digits' and config.data.data_dir is not None:
        lines.append(
            f'config.data.data_dir={config.data.data_dir!r}: nothing is read from it, since the '
            "digits come with the package; for images of your own set config.data.name to 'npz' or "
            "'folder'"
        )
    images, batch = len(trained.images), config.batch_size
    if images < 2 * batch:
        devices = jax.device_count()
        half = images // 2 // devices * devices
        way_out = f'; for at least two choose {half} or less' if half >= 2 else ''
        lines.append(f'config.batch_size={batch}: an epoch of {images} images is one step{way_out}')
    negatives = config.moco.queue_size or 2 * batch - 2
    pairs = config.pairs
    ranks = [percentile_rank(share, negatives) for share in (pairs.pos_high, pairs.pos_low)]
    if pairs.select == 'difficult' and ranks[0] == ranks[1]:
        lines.append(
            f'config.pairs.pos_high={pairs.pos_high}, pos_low={pairs.pos_low}: no pair is '
            f'difficult, because both mean the {ranks[0]} most similar of {negatives} negatives, '
            'so nothing is treated; choose a wider band or more images a step'
        )
    if config.moco.shuffle and jax.device_count() == 1:
        lines.append(
            'config.moco.shuffle=True: has no effect on one device, where keys and queries are '
            'encoded together'
        )
    step = _relative_step(config.optimizer, batch)
    if step > _LARGE_STEP:
        lines.append(
            f'config.optimizer.learning_rate={config.optimizer.learning_rate}: at {batch} images a '
            f'step LARS changes each weight matrix by {step:.1%} of its length at the peak, and '
            'more with momentum; SimCLR has 0.2 to 0.5 %, see docs/optimizers.md. Lower this or '
            'config.optimizer.trust_coefficient'
        )
    if config.moco.queue_size > images:
        lines.append(
            f'config.moco.queue_size={config.moco.queue_size}: more keys than the {images} images '
            'that the run trains on, so older keys of an image are among its own negatives; choose '
            f'{images} or less'
        )
    prior, classes = config.loss.tau_plus, len(dataset.classes)
    if config.loss.name in _WITH_PRIOR and classes and not 0.5 <= prior * classes <= 2:
        lines.append(
            f'config.loss.tau_plus={prior}: the chance that a negative is of the same class; with '
            f'{classes} equally large classes it is {1 / classes:.3g}'
        )
    voters, labels = len(dataset.train.images), dataset.train.labels
    probed = labels is not None and dataset.test.labels is not None
    if probed and config.probe.neighbours > _VOTERS * voters:
        lines.append(
            f'config.probe.neighbours={config.probe.neighbours}: more than {_VOTERS:.0%} of the '
            f'{voters} labelled images vote in the kNN probe; knn20_accuracy takes 20'
        )
    lines += _advice_on_labels(labels, dataset.test.labels, dataset.classes)
    for some_labels, kind in ((labels, 'labelled'), (trained.labels, 'pre-training')):
        single = _classes_of_one(some_labels, dataset.classes)
        if single:
            lines.append(f'{len(single)} classes have one {kind} image: {_listed(single)}')
    if config.monitor.every_epochs:
        lines += _advice_on_monitor(config.monitor, dataset, trained)
    return lines


def _relative_step(optimizer: ConfigDict, batch: int) -> float:
    """Length of the step of a weight matrix over its own at the peak; 0 where it is not fixed."""
    if optimizer.name != 'lars':
        return 0.0
    return optimizer.learning_rate * batch / 256 * optimizer.trust_coefficient


def _advice_on_labels(
    labels: np.ndarray | None, test_labels: np.ndarray | None, classes: tuple[str, ...]
) -> list[str]:
    """What the probes cannot learn from these labels."""
    lines: list[str] = []
    # Then nothing is probed.
    if labels is None or test_labels is None:
        return lines
    present = np.unique(labels)
    if len(present) == 1:
        lines.append(
            f'all labelled images are of one class, {classes[present[0]]}: the probes have nothing '
            'to tell apart, so their accuracies say nothing'
        )
    unseen = [classes[label] for label in np.setdiff1d(test_labels, present)]
    if unseen:
        lines.append(
            f'{len(unseen)} classes have test images and no labelled ones, so no probe can name '
            f'them: {_listed(unseen)}'
        )
    return lines


def _listed(names: list[str]) -> str:
    return ', '.join(names[:_NAMED]) + (', ...' if len(names) > _NAMED else '')


def _advice_on_monitor(monitor: ConfigDict, dataset: Dataset, trained: Split) -> list[str]:
    """What a monitor cannot measure on these data, and what it has fewer images for."""
    lines = []
    if len(trained.images) < monitor.images:
        lines.append(
            f'config.monitor.images={monitor.images}: the run trains on {len(trained.images)} '
            'images, and the monitor looks at all of them'
        )
    if dataset.train.labels is None or dataset.test.labels is None:
        lines.append('config.monitor: without labels it measures no monitor/knn')
    if trained.labels is None:
        lines.append(
            'config.monitor: without labels of the pre-training images, monitor/alpha, beta and '
            'gamma are those of the bands; monitor/ordered and band_purity are not measured'
        )
    return lines


def _classes_of_one(labels: np.ndarray | None, classes: tuple[str, ...]) -> list[str]:
    """Names of the classes that occur exactly once."""
    if labels is None:
        return []
    present, counts = np.unique(labels, return_counts=True)
    return [classes[label] for label in present[counts == 1]]
