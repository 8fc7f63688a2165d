"""Probes a finished run, and makes its `result.json` and its table."""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.sources import Dataset
from contrastive_jax.data.stored import checksum
from contrastive_jax.evaluation.features import extract_features
from contrastive_jax.evaluation.probing import Accuracies, by_group, probe
from contrastive_jax.evaluation.shared import shared_probe
from contrastive_jax.evaluation.untrained import calibrated
from contrastive_jax.models.frozen import encoder_function
from contrastive_jax.runs.provenance import git_commit, platform_flags, versions
from contrastive_jax.runtime import distributed, memory, progress
from contrastive_jax.training.loop import Pretrained
from contrastive_jax.training.task import Task

__all__ = ['make_result', 'print_table', 'probe_all']

# Titles of the probed representations, by the prefix of their names in the result.
_TITLES = {'': 'trained encoder', 'random_encoder': 'untrained encoder', 'raw_pixel': 'raw pixels'}


def probe_all(
    config: ConfigDict, dataset: Dataset, pretrained: Pretrained, shared: Path | None = None
) -> dict[str, Accuracies]:
    """Probes the trained encoder, an untrained one (`untrained.calibrated`), and the raw pixels.

    Args:
      config: the whole config.
      dataset: images to probe with.
      pretrained: outcome of the training.
      shared: folder in which the runs of a grid share the probes of the two baselines, or None.

    Returns:
      Accuracies by representation: '' for the trained encoder, 'random_encoder' and, if the images
      are in memory and their pixels fit into it as floats, 'raw_pixel'. Empty if training or test
      images have no labels.
    """
    train, test = dataset.train, dataset.test
    labels, test_labels = train.labels, test.labels
    if labels is None or test_labels is None:
        lacking = 'labels'
        if labels is not test_labels:
            lacking = 'training labels' if labels is None else 'test labels'
        print(f'No {lacking}: nothing to probe. Scores need none.')
        return {}

    def pixels(images):
        return images.reshape(len(images), -1).astype(np.float32) / 255

    representations: dict[str, Callable[[Any], np.ndarray]] = {}
    # If the images do not fit into memory, neither do their pixels as floats.
    if isinstance(train.images, np.ndarray):
        representations['raw_pixel'] = pixels
    graphdef, initial, final = pretrained.graphdef, pretrained.initial, pretrained.final
    untrained = calibrated(graphdef, initial.params, initial.stats, train.images)
    for name, weights in (('random_encoder', untrained), ('', (final.params, final.stats))):
        encode = encoder_function(graphdef, *weights)
        representations[name] = partial(extract_features, encode)

    def measure(name: str) -> Accuracies | None:
        if name == 'raw_pixel':
            # All processes probe the same, because they wait for each other in between.
            too_large = distributed.first_message(_too_large(train.images.shape, len(test.images)))
            if too_large:
                print(f'raw pixels are not probed: {too_large}')
                return None
        represent = representations[name]
        return probe(
            (represent(train.images), labels),
            (represent(test.images), test_labels),
            num_classes=len(dataset.classes),
            options=config.probe,
            validate=not name,
        )

    data = []
    if shared is not None:
        data = [*map(checksum, (train.images, test.images)), labels, test_labels]
    inputs = {
        'random_encoder': [*jax.tree.leaves(untrained), config.model.to_dict(), config.precision],
    }
    accuracies = {}
    for name in representations:
        progress.say(f'probe: {_TITLES[name]}')
        depends = [name, dataset.classes, config.probe.to_dict(), *data, *inputs.get(name, ())]
        measured = shared_probe(shared if name else None, depends, partial(measure, name))
        if measured is not None:
            accuracies[name] = measured
    return accuracies


def _too_large(shape: tuple[int, ...], test_images: int) -> str:
    """Why the pixels of these training images cannot be probed; empty if they can."""
    n, k = shape[0], math.prod(shape[1:])
    # Measured. Of fewer images than pixels, `whitening.span` holds copies in float64; the rest is
    # a matrix for each L2 strength.
    needed = (40 if n < k else 20) * (n + test_images) * k + 40 * min(n, k) ** 2
    free = memory.on_host()
    if needed <= free:
        return ''
    return (
        f'{n} images of {k} numbers take some {needed / 2**30:.0f} GiB of memory, and '
        f'{free / 2**30:.0f} are free'
    )


def make_result(
    config: ConfigDict,
    task: Task,
    dataset: Dataset,
    construction: Construction,
    pretrained: Pretrained,
    accuracies: dict[str, Accuracies],
    start_time: float,
) -> dict:
    """Returns the content of `result.json`.

    Args:
      config: the whole config.
      task: task of the run.
      dataset: images that the probes use, and names of the classes.
      construction: images that the run trained on.
      pretrained: outcome of the training.
      accuracies: accuracies that `probe_all` returns.
      start_time: value of `time.perf_counter()` at the start of the run.

    Returns:
      Values that JSON can hold, by name. Accuracies are in [0, 1], and None without labels;
      `seconds` is the time since `start_time`.
    """
    split, final = construction.split, pretrained.final
    return {
        **_flat(accuracies),
        **task.evaluate(pretrained.graphdef, final, dataset),
        **_by_class(accuracies, split.labels, dataset.classes),
        **construction.summary(dataset.classes),
        'test_images': len(dataset.test.images),
        'steps': int(final.step),
        'epochs': int(final.step) / (len(split.images) // config.batch_size),
        'skipped_images': dataset.skipped,
        'skipped_updates': int(final.skipped),
        'pairs_per_second': pretrained.pairs_per_second,
        'seconds': time.perf_counter() - start_time,
        'seed': config.seed,
        'versions': versions(),
        'platform': platform_flags(),
        'git_commit': git_commit(),
    }


def _flat(accuracies: dict[str, Accuracies]) -> dict[str, float | None]:
    """All accuracies by their names in the result. Without labels, the promised ones are None.

    The names of the baselines' linear accuracies do not say `linear`, as in `raw_pixel_accuracy`.
    """
    flat = dict.fromkeys(
        (
            'linear_accuracy',
            'few_label_accuracy',
            'knn_accuracy',
            'raw_pixel_accuracy',
            'random_encoder_accuracy',
            'validation_accuracy',
            'validation_few_label_accuracy',
            'validation_knn_accuracy',
            'validation_knn20_accuracy',
        )
    )
    for name, values in accuracies.items():
        prefix = f'{name}_' if name else ''
        flat[f'{prefix}accuracy' if name else 'linear_accuracy'] = values.linear
        flat[f'{prefix}few_label_accuracy'] = values.few_label
        flat[f'{prefix}few_label_std'] = values.few_label_std
        flat[f'{prefix}knn_accuracy'] = values.knn
        flat[f'{prefix}knn20_accuracy'] = values.knn20
        flat[f'{prefix}l2'] = values.l2
        if values.validation is not None:
            flat['validation_accuracy'] = values.validation.linear
            flat['validation_few_label_accuracy'] = values.validation.few_label
            flat['validation_knn_accuracy'] = values.validation.knn
            flat['validation_knn20_accuracy'] = values.validation.knn20
    return flat


def _by_class(
    accuracies: dict[str, Accuracies], trained: np.ndarray | None, classes: tuple[str, ...]
) -> dict:
    """Linear accuracies of the trained encoder, by class and by the size of the class."""
    if not accuracies or trained is None:
        return {}
    by_class = accuracies[''].by_class
    groups = by_group(by_class, np.bincount(trained, minlength=len(classes)))
    named = {f'linear_accuracy_{name}': value for name, value in groups.items()}
    return {**named, 'linear_accuracy_by_class': dict(zip(classes, by_class, strict=True))}


def print_table(
    accuracies: dict[str, Accuracies], result: dict, lines: list[str], path: Path
) -> None:
    """Prints the accuracies, the lines of the task and the pace.

    Args:
      accuracies: accuracies that `probe_all` returns.
      result: content of `result.json`.
      lines: lines that the task adds.
      path: path of `result.json`.
    """
    if accuracies:
        print(f'\naccuracies on {result["test_images"]} test images')
        print(f'{"test accuracy, %":18} {"linear":>7} {"few labels":>13} {"kNN":>7} {"20-NN":>7}')
    for name, values in reversed(accuracies.items()):
        title = _TITLES[name]
        few = f'{100 * values.few_label:.2f}'
        if values.few_label_std is not None:
            few += f' ± {100 * values.few_label_std:.2f}'
        print(
            f'{title:18} {100 * values.linear:7.2f} {few:>13} '
            f'{100 * values.knn:7.2f} {100 * values.knn20:7.2f}'
        )
    for line in lines:
        print(line)
    rate = result['pairs_per_second']
    speed = f', {rate:.0f} pairs/s' if rate else ''
    if result['skipped_updates']:
        print(f'\n{result["skipped_updates"]} updates left out: loss or gradient were not finite')
    print(f'\n{result["seconds"]:.0f} s{speed}; results in {path}')
