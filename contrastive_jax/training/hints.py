"""Warnings about settings that are allowed but rarely intended, printed before a run begins."""

from collections.abc import Iterator

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
    images = len(trained.images)
    return [
        *_on_source(config.data),
        *_on_batch(config.batch_size, images),
        *_on_band(config),
        *_on_shuffle(config.moco),
        *_on_steps(config.optimizer, config.batch_size),
        *_on_queue(config.moco, images),
        *_on_prior(config.loss, len(dataset.classes)),
        *_on_voters(config.probe, dataset),
        *_on_labels(dataset.train.labels, dataset.test.labels, dataset.classes),
        *_on_single(dataset.train.labels, 'labelled', dataset.classes),
        *_on_single(trained.labels, 'pre-training', dataset.classes),
        *(_on_monitor(config.monitor, dataset, trained) if config.monitor.every_epochs else ()),
    ]


def _on_source(data: ConfigDict) -> Iterator[str]:
    if data.name == 'digits' and data.data_dir is not None:
        yield (
            f'config.data.data_dir={data.data_dir!r}: nothing is read from it, since the '
            "digits come with the package; for images of your own set config.data.name to 'npz' or "
            "'folder'"
        )


def _on_batch(batch: int, images: int) -> Iterator[str]:
    if images < 2 * batch:
        devices = jax.device_count()
        half = images // 2 // devices * devices
        way_out = f'; for at least two choose {half} or less' if half >= 2 else ''
        yield f'config.batch_size={batch}: an epoch of {images} images is one step{way_out}'


def _on_band(config: ConfigDict) -> Iterator[str]:
    negatives = config.moco.queue_size or 2 * config.batch_size - 2
    pairs = config.pairs
    high, low = (percentile_rank(share, negatives) for share in (pairs.pos_high, pairs.pos_low))
    if pairs.select == 'difficult' and high == low:
        yield (
            f'config.pairs.pos_high={pairs.pos_high}, pos_low={pairs.pos_low}: no pair is '
            f'difficult, because both mean the {high} most similar of {negatives} negatives, '
            'so nothing is treated; choose a wider band or more images a step'
        )


def _on_shuffle(moco: ConfigDict) -> Iterator[str]:
    if moco.shuffle and jax.device_count() == 1:
        yield (
            'config.moco.shuffle=True: has no effect on one device, where keys and queries are '
            'encoded together'
        )


def _on_queue(moco: ConfigDict, images: int) -> Iterator[str]:
    if moco.queue_size > images:
        yield (
            f'config.moco.queue_size={moco.queue_size}: more keys than the {images} images '
            'that the run trains on, so older keys of an image are among its own negatives; choose '
            f'{images} or less'
        )


def _on_steps(optimizer: ConfigDict, batch: int) -> Iterator[str]:
    # Length of the step of a weight matrix over its own at the peak; only LARS fixes it.
    rate = optimizer.learning_rate
    step = rate * batch / 256 * optimizer.trust_coefficient
    if optimizer.name == 'lars' and step > _LARGE_STEP:
        yield (
            f'config.optimizer.learning_rate={rate}: at {batch} images a '
            f'step LARS changes each weight matrix by {step:.1%} of its length at the peak, and '
            'more with momentum; SimCLR has 0.2 to 0.5 %, see docs/optimizers.md. Lower this or '
            'config.optimizer.trust_coefficient'
        )


def _on_prior(loss: ConfigDict, classes: int) -> Iterator[str]:
    prior = loss.tau_plus
    if loss.name in _WITH_PRIOR and classes and not 0.5 <= prior * classes <= 2:
        yield (
            f'config.loss.tau_plus={prior}: the chance that a negative is of the same class; with '
            f'{classes} equally large classes it is {1 / classes:.3g}'
        )


def _on_voters(probe: ConfigDict, dataset: Dataset) -> Iterator[str]:
    voters = len(dataset.train.images)
    probed = dataset.train.labels is not None and dataset.test.labels is not None
    if probed and probe.neighbours > _VOTERS * voters:
        yield (
            f'config.probe.neighbours={probe.neighbours}: more than {_VOTERS:.0%} of the '
            f'{voters} labelled images vote in the kNN probe; knn20_accuracy takes 20'
        )


def _on_single(labels: np.ndarray | None, kind: str, classes: tuple[str, ...]) -> Iterator[str]:
    """Names the classes that occur exactly once."""
    if labels is None:
        return
    present, counts = np.unique(labels, return_counts=True)
    if single := [classes[label] for label in present[counts == 1]]:
        yield f'{len(single)} classes have one {kind} image: {_listed(single)}'


def _on_labels(
    labels: np.ndarray | None, test_labels: np.ndarray | None, classes: tuple[str, ...]
) -> Iterator[str]:
    """What the probes cannot learn from these labels."""
    # Then nothing is probed.
    if labels is None or test_labels is None:
        return
    present = np.unique(labels)
    if len(present) == 1:
        yield (
            f'all labelled images are of one class, {classes[present[0]]}: the probes have nothing '
            'to tell apart, so their accuracies say nothing'
        )
    unseen = [classes[label] for label in np.setdiff1d(test_labels, present)]
    if unseen:
        yield (
            f'{len(unseen)} classes have test images and no labelled ones, so no probe can name '
            f'them: {_listed(unseen)}'
        )


def _listed(names: list[str]) -> str:
    return ', '.join(names[:_NAMED]) + (', ...' if len(names) > _NAMED else '')


def _on_monitor(monitor: ConfigDict, dataset: Dataset, trained: Split) -> Iterator[str]:
    """What a monitor cannot measure on these data, and what it has fewer images for."""
    if len(trained.images) < monitor.images:
        yield (
            f'config.monitor.images={monitor.images}: the run trains on {len(trained.images)} '
            'images, and the monitor looks at all of them'
        )
    if dataset.train.labels is None or dataset.test.labels is None:
        yield 'config.monitor: without labels it measures no monitor/knn'
    if trained.labels is None:
        yield (
            'config.monitor: without labels of the pre-training images, monitor/alpha, beta and '
            'gamma are those of the bands; monitor/ordered and band_purity are not measured'
        )
