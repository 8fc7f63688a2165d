"""Every config field with its default, what it allows and what it means, in one table.

`configs/*.py` start from `default()`. A config is resolved and validated before anything is
compiled, and `completed` when it is read back from the folder of a run.
"""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from contrastive_jax.config import arms
from contrastive_jax.config.arms import ARMS
from contrastive_jax.config.checks import check_together
from contrastive_jax.config.rules import (
    BOOL,
    PART,
    PATH,
    POSITIVE,
    SHARE,
    TEXT,
    Field,
    integer,
    number,
    one_of,
    one_of_or_empty,
)
from contrastive_jax.config.sections import SECTIONS, Section
from contrastive_jax.errors import UserError

__all__ = [
    'FIELDS',
    'PATHS',
    'check_field',
    'completed',
    'default',
    'differences',
    'flatten',
    'register',
    'resolve',
    'restored',
    'validate',
]


# The fields that belong to no task, as they stand before and after those that tasks add.
_FIRST: dict[str, Field] = {
    'seed': Field(0, integer(0), 'number from which all randomness of a run follows'),
    'arm': Field(
        '',
        one_of_or_empty(*ARMS),
        'method of the paper by name, which sets select, remove, margin and temperature_scale of '
        "pairs; '': they say it themselves",
    ),
    'epochs': Field(100, integer(1), 'passes over the images that are pre-trained on'),
    'steps': Field(
        0,
        integer(0),
        'updates to make, whatever the number of images; 0: as many as epochs takes. The warm-up '
        'keeps its share of the run, warmup_epochs / epochs',
    ),
    'batch_size': Field(256, integer(2), 'images in a step, over all devices'),
    'precision': Field(
        'auto',
        one_of('auto', 'float32', 'bfloat16'),
        'number type that the encoder computes in; auto: bfloat16 on accelerators, float32 on CPUs',
    ),
    'checkpoint_every': Field(1000, integer(1), 'steps between two checkpoints'),
    'checkpoint_minutes': Field(
        10.0, number(0), 'largest time between checkpoints, in minutes; 0 for no limit'
    ),
    'on_nonfinite': Field(
        'stop',
        one_of('stop', 'skip'),
        'what happens where loss or gradient are not finite: stop, or leave that update out and '
        'count it',
    ),
    'data.name': Field('digits', TEXT, 'data set: digits, npz, folder, or a name of TFDS'),
    'data.data_dir': Field(
        None, PATH, 'place of the data: a folder of TFDS or of images, or an npz file'
    ),
    'data.image_size': Field(
        0, integer(0), 'side of the squares that images are scaled and cropped to; 0: as they are'
    ),
    'data.skip_broken': Field(False, BOOL, 'leave out image files that cannot be read'),
    'data.max_pixels': Field(
        178_956_970,
        integer(1),
        'largest width times height of an image file; the default is the limit of Pillow',
    ),
    'data.stream': Field(False, BOOL, 'leave the images on disk and read them while training'),
    'data.workers': Field(2, integer(0), 'processes that read images; 0: threads of this process'),
    'long_tail.factor': Field(
        1.0,
        number(1),
        'size of the largest class over that of the smallest, with an exponential profile; affects '
        'pre-training alone',
    ),
    'mixed.ratio': Field(0.0, SHARE, 'share of the images mixed with an image of another class'),
    'mixed.drop': Field(False, BOOL, 'leave those images out instead of mixing them'),
    'mixed.weight': Field(
        0.5, SHARE, 'weight of an image in its mixture; its partner has the rest'
    ),
    'mixed.match_contrast': Field(False, BOOL, 'give a mixed image the contrast of its source'),
    'removal.ratio': Field(0.0, PART, 'share of the images to leave out of pre-training'),
    'removal.method': Field(
        'difficulty',
        one_of('difficulty', 'boundary', 'sas', 'random', 'file'),
        'score by which images are left out (sas: within each latent class); file: your own score',
    ),
    'removal.scores': Field(None, PATH, 'scores.npz of contrastive_jax.score; for file also npy'),
    'augment.crop': Field(True, BOOL, 'crop a random part of the image and resize it'),
    'augment.crop_scale': Field(0.08, number(0.01, 1), 'smallest share of the area in a crop'),
    'augment.flip': Field(0.5, SHARE, 'probability of a left-right flip'),
    'augment.jitter': Field(0.8, SHARE, 'probability of the colour jitter'),
    'augment.brightness': Field(0.8, number(0, 1), 'largest relative change of the brightness'),
    'augment.contrast': Field(0.8, number(0, 1), 'largest relative change of the contrast'),
    'augment.saturation': Field(0.8, number(0, 1), 'largest relative change of the saturation'),
    'augment.hue': Field(0.2, number(0, 0.5), 'largest turn of the hue, in turns of the circle'),
    'augment.greyscale': Field(0.2, SHARE, 'probability of greyscale'),
    'augment.blur': Field(0.5, SHARE, 'probability of a Gaussian blur'),
    'augment.blur_sigma': Field(
        2.0, number(0.1), 'largest standard deviation of the blur, pixels; the least is 0.1'
    ),
    'model.name': Field(
        'resnet18',
        one_of(),  # Tasks add the names.
        'network that is trained; an encoder is trained by contrast, other networks name the task '
        'that they are trained for',
    ),
    'model.width': Field(64, integer(1), 'channels of the first stage of an encoder'),
    'model.stem': Field(
        'cifar',
        one_of('cifar', 'imagenet'),
        'first layers of a ResNet; cifar: 3x3, stride 1, no pooling, for images up to 64 pixels',
    ),
    'model.projector_width': Field(2048, integer(1), 'hidden units of the projector'),
    'model.projector_dim': Field(128, integer(1), 'dimensions of the embedding'),
    'model.sync_batch_norm': Field(True, BOOL, 'take batch statistics over all devices'),
}
_LAST: dict[str, Field] = {
    'pairs.select': Field(
        'none',
        one_of('none', 'difficult', 'all'),
        'negative pairs that are treated, if config.arm does not say it',
    ),
    'pairs.pos_high': Field(
        0.1,
        SHARE,
        'where the difficult band begins, counted from the most similar pair of an image down; '
        '0.1: the most similar tenth counts as the same class',
    ),
    'pairs.pos_low': Field(
        0.5,
        SHARE,
        'where the difficult band ends, counted from the most similar pair of an image down; '
        '0.5: the less similar half counts as easy',
    ),
    'pairs.remove': Field(False, BOOL, 'leave the selected pairs out of the loss'),
    'pairs.margin': Field(
        0.0, number(0), 'sigma, added to the cosine of a selected pair; an arm with 0 takes 0.1'
    ),
    'pairs.temperature_scale': Field(
        1.0, POSITIVE, 'rho, times tau for a selected pair; an arm with 1 takes 0.7'
    ),
    'optimizer.name': Field(
        'lars',
        one_of('lars', 'lars_clipped', 'sgd', 'adamw'),
        'optimiser; lars_clipped: a trust ratio that only lowers the rate, see docs/optimizers.md',
    ),
    'optimizer.learning_rate': Field(
        0.4, POSITIVE, 'highest learning rate for 256 images a step; scaled with the batch size'
    ),
    'optimizer.warmup_epochs': Field(
        10.0, number(0), 'epochs in which the learning rate rises linearly; then a cosine to 0'
    ),
    'optimizer.weight_decay': Field(
        1e-4, number(0), 'weight decay of all but biases and normalisation'
    ),
    'optimizer.momentum': Field(0.9, SHARE, 'momentum of lars, lars_clipped and sgd'),
    'optimizer.trust_coefficient': Field(
        0.02, POSITIVE, 'trust coefficient of lars and lars_clipped'
    ),
    'probe.labels_per_class': Field(
        10, integer(1), 'labels of each class in a draw of the few-label probe'
    ),
    'probe.draws': Field(20, integer(1), 'random draws of labels for the few-label probe'),
    'probe.validation_share': Field(
        0.1,
        number(0.01, 0.5),
        'share of the training images on which the L2 strength is chosen and the validation '
        'accuracies are measured',
    ),
    'probe.neighbours': Field(200, integer(1), 'neighbours that vote in the weighted kNN'),
    'probe.knn_temperature': Field(0.1, POSITIVE, 'temperature of the votes in the weighted kNN'),
}

FIELDS: dict[str, Field] = _FIRST | _LAST

# Fields that hold a path.
PATHS = tuple(path for path, field in FIELDS.items() if field.rule is PATH)
# A run goes on with other values of these: they change how it is run, and no number.
_WITHOUT_EFFECT = {'data.workers'}


def register(section: Section) -> None:
    """Adds what a task brings: its fields and models are then part of every config."""
    SECTIONS.append(section)
    FIELDS.update(section.fields)
    for path in _LAST:
        FIELDS[path] = FIELDS.pop(path)
    names = [name for known in SECTIONS for name in known.models]
    FIELDS['model.name'] = FIELDS['model.name']._replace(rule=one_of(*names))


def default() -> ConfigDict:
    """A config with every field at its default."""
    tree: dict[str, Any] = {}
    for path, field in FIELDS.items():
        *sections, name = path.split('.')
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = config_dict.placeholder(str) if field.default is None else field.default
    return ConfigDict(tree)


def validate(config: ConfigDict) -> None:
    """Checks every field by itself, then the fields against each other, as the arm sets them.

    All that can be known about a config without its data is checked here.

    Raises:
      UserError: names the field, its value, what is allowed and, for a typing error, the nearest
        field.
    """
    resolved, _ = resolve(config)
    values = flatten(resolved)
    check_together(resolved, values)
    for section in SECTIONS:
        section.check(resolved, values)


def resolve(config: ConfigDict, given: Collection[str] = ()) -> tuple[ConfigDict, list[str]]:
    """A copy of a config in which `arm` and the fields of `pairs` say the same: see `arms.resolve`.

    Args:
      config: every field set.
      given: paths of the fields that were given on the command line, which win over the arm.

    Returns:
      The copy, and lines for the user.

    Raises:
      UserError: a value that is not allowed, or fields given that contradict each other.
    """
    values = flatten(config)
    _check_values(values)
    changes, words = arms.resolve(values, given)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    return config, words


def completed(stored: Mapping) -> dict[str, Any]:
    """The values that a stored config stands for, by path, its arm resolved.

    A run of before a field existed did what the default of the field says. Fields that are no
    longer known are kept.
    """
    values = {path: field.default for path, field in FIELDS.items()} | flatten(stored)
    if all(FIELDS[path].rule.holds(values[path]) for path in arms.FIELDS):
        values |= arms.resolve(values)[0]
    return values


def restored(stored: Mapping) -> ConfigDict:
    """The config that `completed` gives.

    Raises:
      UserError: a field that is not known.
    """
    values = completed(stored)
    config = default()
    for path in values:
        check_field(path)
    with config.ignore_type():
        config.update_from_flattened_dict(values)
    return config


def check_field(path: str) -> None:
    """Raises UserError, with the nearest name, unless there is a field `path`."""
    if path not in FIELDS:
        near = difflib.get_close_matches(path, FIELDS, n=1, cutoff=0.0)[0]
        raise UserError(f'config.{path}: no such field; the nearest is config.{near}')


def differences(old: Mapping, new: Mapping) -> list[str]:
    """Names the fields in which two configs differ, with both values; not those without effect."""
    old, new = flatten(old), flatten(new)
    return [
        f'{path}: {_shown(old, path)} there, {_shown(new, path)} here'
        for path in sorted((old.keys() | new.keys()) - _WITHOUT_EFFECT)
        if path not in old or path not in new or old[path] != new[path]
    ]


def flatten(config, prefix: str = '') -> dict[str, Any]:
    """The values of a config, or of any nested dict, by their paths such as `pairs.margin`."""
    flat = {}
    for name, value in config.items():
        path = f'{prefix}{name}'
        flat |= flatten(value, path + '.') if hasattr(value, 'items') else {path: value}
    return flat


def _check_values(values: Mapping[str, Any]) -> None:
    for path in values:
        check_field(path)
    for path, field in FIELDS.items():
        if path not in values:
            raise UserError(f'config.{path}: missing; start the config from config.default()')
        if not field.rule.holds(values[path]):
            names = field.rule.allowed.removeprefix('one of ').split(', ')
            near = difflib.get_close_matches(str(values[path]), names, n=1)
            hint = f'; did you mean {near[0]}?' if near else ''
            raise UserError(f'config.{path}={values[path]!r}: must be {field.rule.allowed}{hint}')


def _shown(values: Mapping[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else 'absent'
