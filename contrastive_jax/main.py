"""Pre-trains an encoder, probes it and writes the workdir.

python -m contrastive_jax.main --config=configs/digits.py --workdir=runs/digits
"""

import time
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from contrastive_jax.config import resolve, validate
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import Construction, construct
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.data.streaming import check_workers
from contrastive_jax.ebt.denoisers import DENOISERS
from contrastive_jax.ebt.quality import denoising_quality
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation import (
    Accuracies,
    by_group,
    calibrated,
    check_labels_per_class,
    extract_features,
    probe,
)
from contrastive_jax.evaluation.features import encoder_function
from contrastive_jax.runs.provenance import git_commit, platform_flags, versions
from contrastive_jax.runs.workdir import RESULT, check_workdir, claim_workdir, locked
from contrastive_jax.runtime import cli, compilation, distributed, preemption, progress
from contrastive_jax.runtime.files import read_json, write_sealed_json
from contrastive_jax.training.advice import advice
from contrastive_jax.training.loop import Pretrained, check_batch, pretrain

config_flags.DEFINE_config_file('config', None, 'Config file, with :variant if wanted.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder that the run writes to, and resumes from.')
_DISTRIBUTED = flags.DEFINE_bool(
    'distributed', None, 'Join other processes; by itself under srun and on Cloud TPU.'
)
_COORDINATOR = flags.DEFINE_string('coordinator_address', None, 'HOST:PORT of process 0.')
_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many processes there are.')
_PROCESS = flags.DEFINE_integer('process_id', None, 'Number of this process, from 0.')
_DETERMINISTIC = flags.DEFINE_bool(
    'deterministic', False, 'On GPUs: the same bits every time, with slower programs.'
)
flags.mark_flags_as_required(['config', 'workdir'])

# What is probed, by the start of its names in the result.
_TITLES = {'': 'trained encoder', 'random_encoder': 'untrained encoder', 'raw_pixel': 'raw pixels'}


def run(config: ConfigDict, workdir: Path) -> dict:
    """Runs the whole job and returns what `result.json` holds.

    A finished workdir is left as it is, an unfinished one of the same config is resumed.

    Raises:
      UserError: anything wrong with config, data or workdir; before compilation, nothing written.
    """
    validate(config)
    config, words = resolve(config)
    _print_lines(words)
    distributed.check_same(config.to_json(sort_keys=True), 'config')
    distributed.by_writer(lambda: check_workdir(workdir, config))
    if (workdir / RESULT).exists():
        return _finished(workdir)
    began = time.perf_counter()
    dataset = sources.load(config.data)
    construction = construct(config, dataset.pretrain)
    check_batch(config.batch_size, len(construction.split.images), jax.device_count())
    _check_labels(config, dataset)
    _check_patch(config, dataset)
    distributed.by_all(lambda: _check_workers(config, construction))
    distributed.check_same(construction.summary(dataset.classes)['kept_checksum'], 'images')
    with ExitStack() as stack:
        distributed.by_writer(lambda: stack.enter_context(locked(workdir)))
        # Another process may have come and gone while this one read its data.
        distributed.by_writer(lambda: check_workdir(workdir, config))
        if (workdir / RESULT).exists():
            return _finished(workdir)
        distributed.by_writer(
            lambda: claim_workdir(workdir, config, construction, held_out=dataset.held_out)
        )
        for line in advice(config, dataset, construction.split) if distributed.is_writer() else ():
            logging.warning('%s', line)
        return _train_and_probe(config, workdir, dataset, construction, began)


def _finished(workdir: Path) -> dict:
    """What a finished run has found."""
    try:
        result = read_json(workdir / RESULT)
    except UserError as error:
        raise UserError(f'{error}; delete it, and the same command probes again') from error
    print(f'{workdir} is finished: nothing to do. To train again, choose another --workdir.')
    return result


def _train_and_probe(
    config: ConfigDict,
    workdir: Path,
    dataset: sources.Dataset,
    construction: Construction,
    began: float,
) -> dict:
    split = construction.split
    _print_lines(_treatment(config))
    with preemption.noting() as told_to_stop:
        pretrained = pretrain(config, split, workdir, told_to_stop)
    accuracies = _probe_all(config, dataset, pretrained)
    result = {
        **_flat(accuracies),
        **_denoising(config, dataset, pretrained),
        **_by_class(accuracies, split.labels, dataset.classes),
        **construction.summary(dataset.classes),
        'test_images': len(dataset.test.images),
        'steps': int(pretrained.final.step),
        'epochs': int(pretrained.final.step) / (len(split.images) // config.batch_size),
        'skipped_images': dataset.skipped,
        'skipped_updates': int(pretrained.final.skipped),
        'pairs_per_second': pretrained.pairs_per_second,
        'seconds': time.perf_counter() - began,
        'seed': config.seed,
        'versions': versions(),
        'platform': platform_flags(),
        'git_commit': git_commit(),
    }
    distributed.by_writer(lambda: write_sealed_json(workdir / RESULT, result))
    _print_table(accuracies, result, workdir)
    return result


def _treatment(config: ConfigDict) -> list[str]:
    """A line that says how pairs are treated; none of a denoiser, which compares no pairs."""
    pairs = config.pairs
    if config.model.name in DENOISERS:
        return []
    return [
        f'arm {config.arm or "without a name"}: select={pairs.select}, remove={pairs.remove}, '
        f'margin={pairs.margin}, temperature_scale={pairs.temperature_scale}'
    ]


def _check_labels(config: ConfigDict, dataset: sources.Dataset) -> None:
    if config.loss.name == 'supervised' and dataset.pretrain.labels is None:
        raise UserError(
            "config.loss.name='supervised': needs labels, and these images have none; choose "
            'another loss'
        )
    if dataset.train.labels is not None:
        wanted = config.probe.labels_per_class
        check_labels_per_class(dataset.train.labels, wanted, 'config.probe.labels_per_class')


def _check_patch(config: ConfigDict, dataset: sources.Dataset) -> None:
    height, width = dataset.train.images.shape[1:3]
    side = config.model.patch
    if config.model.name in DENOISERS and (height != width or height % side):
        raise UserError(
            f'config.model.patch={side}: images of {height} x {width} pixels cannot be cut into '
            'such squares; choose a divisor of the side, and square images'
        )


def _check_workers(config: ConfigDict, construction: Construction) -> None:
    images = construction.split.images
    if isinstance(images, StoredImages):
        rows = len(range(config.batch_size)[distributed.own_rows(config.batch_size)])
        check_workers(images, rows, config.data.workers)


def _probe_all(
    config: ConfigDict, dataset: sources.Dataset, pretrained: Pretrained
) -> dict[str, Accuracies]:
    """Probes the trained encoder, an untrained one (`untrained.calibrated`), and the raw pixels."""
    train, test = dataset.train, dataset.test
    if train.labels is None or test.labels is None:
        print('No labels: nothing to probe. Scores need none.')
        return {}

    def pixels(images):
        return images.reshape(len(images), -1).astype(np.float32) / 255

    # The pixels of a set that does not fit into memory do not fit either.
    representations = {'raw_pixel': pixels} if isinstance(train.images, np.ndarray) else {}
    graphdef, initial, final = pretrained.graphdef, pretrained.initial, pretrained.final
    untrained = calibrated(graphdef, initial.params, initial.stats, train.images)
    for name, weights in (('random_encoder', untrained), ('', (final.params, final.stats))):
        encode = encoder_function(graphdef, *weights)
        representations[name] = lambda images, encode=encode: extract_features(encode, images)
    accuracies = {}
    for name, represent in representations.items():
        progress.say(f'probe: {_TITLES[name]}')
        accuracies[name] = probe(
            (represent(train.images), train.labels),
            (represent(test.images), test.labels),
            num_classes=len(dataset.classes),
            config=config.probe,
            validate=not name,
        )
    return accuracies


def _denoising(config: ConfigDict, dataset: sources.Dataset, pretrained: Pretrained) -> dict:
    """What a denoiser makes of test images; nothing for an encoder."""
    if config.model.name not in DENOISERS:
        return {}
    graphdef, final = pretrained.graphdef, pretrained.final
    images, labels, _ = dataset.test
    progress.say('denoising of test images')
    return {
        'denoising': denoising_quality(
            graphdef, final.params, final.stats, images, config.denoise, config.seed, labels
        )
    }


def _flat(accuracies: dict[str, Accuracies]) -> dict[str, float | None]:
    """Names every number; without labels the promised ones are null.

    The linear accuracies of the baselines carry no measure in their name: `raw_pixel_accuracy`.
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
    for who, values in accuracies.items():
        prefix = f'{who}_' if who else ''
        flat[f'{prefix}accuracy' if who else 'linear_accuracy'] = values.linear
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
    """Linear accuracy of the trained encoder within classes, and by their pre-training images."""
    if not accuracies or trained is None:
        return {}
    by_class = accuracies[''].by_class
    groups = by_group(by_class, np.bincount(trained, minlength=len(classes)))
    named = {f'linear_accuracy_{name}': value for name, value in groups.items()}
    return {**named, 'linear_accuracy_by_class': dict(zip(classes, by_class, strict=True))}


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line)


def _print_table(accuracies: dict[str, Accuracies], result: dict, workdir: Path) -> None:
    if accuracies:
        print(f'\n{"test accuracy, %":18} {"linear":>7} {"few labels":>13} {"kNN":>7} {"20-NN":>7}')
    for who, values in reversed(accuracies.items()):
        title = _TITLES[who]
        few = f'{100 * values.few_label:.2f}'
        if values.few_label_std is not None:
            few += f' ± {100 * values.few_label_std:.2f}'
        print(
            f'{title:18} {100 * values.linear:7.2f} {few:>13} '
            f'{100 * values.knn:7.2f} {100 * values.knn20:7.2f}'
        )
    if 'denoising' in result:
        _print_denoising(result['denoising'])
    rate = result['pairs_per_second']
    speed = f', {rate:.0f} pairs/s' if rate else ''
    if result['skipped_updates']:
        print(f'\n{result["skipped_updates"]} updates left out: loss or gradient were not finite')
    print(f'\n{result["seconds"]:.0f} s{speed}; results in {workdir / RESULT}')


def _print_denoising(found: dict) -> None:
    counts = found['evaluations']
    print(f'\n{"PSNR, dB; evaluations":24}' + ''.join(f'{count:>7}' for count in counts))
    for kind, values in found['psnr'].items():
        print(f'{kind:24}' + ''.join(f'{value:7.2f}' for value in values))


def _main() -> None:
    place = distributed.ProcessInfo(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if _DETERMINISTIC.value:
        compilation.make_deterministic()
    distributed.start(_DISTRIBUTED.value, place)
    if jax.process_count() > 1:
        preemption.pass_interrupt_on()
    with distributed.one_voice(), distributed.or_leave(), compilation.refusals():
        config, words = cli.config_of_flags()
        _print_lines(words)
        run(config, Path(_WORKDIR.value))


if __name__ == '__main__':
    cli.run(_main)
