"""Checks a config against its data and devices, before anything is written."""

import jax
from ml_collections import ConfigDict

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.sources import Dataset
from contrastive_jax.data.stored import StoredImages, array_checksum, checksum
from contrastive_jax.data.streaming import check_workers
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.monitor import check_monitor
from contrastive_jax.evaluation.probing import check_labels_per_class
from contrastive_jax.runtime import distributed
from contrastive_jax.training.task import Task

__all__ = ['check_data']


def check_data(
    config: ConfigDict, task: Task, dataset: Dataset, construction: Construction
) -> None:
    """Checks a config against its data. All processes must call it.

    Args:
      config: the whole config, validated.
      task: task of the run.
      dataset: data set that the config names.
      construction: images that the run trains on.

    Raises:
      UserError: a field does not fit; the message says what these data allow.
    """
    if jax.process_count() > 1:
        # Else each process would train on its rows of another data set. First of all, because with
        # other data a process alone might fail in what follows.
        distributed.check_same(_identity(dataset, construction), 'images')
    _check_batch(config.batch_size, len(construction.kept), jax.device_count())
    task.check(dataset)
    # Without labels of both splits nothing is probed.
    if dataset.train.labels is not None and dataset.test.labels is not None:
        count = config.probe.labels_per_class
        check_labels_per_class(dataset.train.labels, count, 'config.probe.labels_per_class')
    check_monitor(config, dataset)
    distributed.by_all(lambda: _check_workers(config, construction))


def _identity(dataset: Dataset, construction: Construction) -> str:
    """Checksums of all images, of their labels and of the indices of those trained on."""
    splits = (construction.whole, dataset.train, dataset.test)
    arrays = [construction.kept, *(split.labels for split in splits if split.labels is not None)]
    known = [split.labels is not None for split in splits]
    # Mostly the images trained on are those that the probes use, and are read once.
    images = {id(split.images): split.images for split in splits}.values()
    return ' '.join([*map(checksum, images), *map(array_checksum, arrays), str(known)])


def _check_batch(batch_size: int, images: int, devices: int) -> None:
    """Raises UserError unless a batch fits the images and splits evenly over the devices."""
    if batch_size % devices:
        raise UserError(
            f'config.batch_size={batch_size}: must be divisible by the {devices} devices; '
            f'the nearest is {max(1, round(batch_size / devices)) * devices}'
        )
    if batch_size > images:
        most, least = images // devices * devices, devices * -(-2 // devices)
        way_out = f'choose at most {most}' if most >= least else f'give at least {least} images'
        raise UserError(
            f'config.batch_size={batch_size}: larger than the {images} training images; {way_out}'
        )


def _check_workers(config: ConfigDict, construction: Construction) -> None:
    # Of images in memory, `construction.split` would copy those that a run trains on.
    if isinstance(construction.whole.images, StoredImages):
        images = construction.split.images
        assert isinstance(images, StoredImages)
        rows = len(range(config.batch_size)[distributed.own_rows(config.batch_size)])
        check_workers(images, rows, config.data.workers)
