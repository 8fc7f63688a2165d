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
    Needs,
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
    'WITHOUT_EFFECT',
    'check_field',
    'check_value',
    'check_values',
    'completed',
    'default',
    'differences',
    'flatten',
    'nearest_field',
    'register',
    'resolve',
    'restored',
    'validate',
]


# The fields that belong to no task, as they stand before and after those that tasks add.
_FIRST: dict[str, Field] = {
    'seed': Field(0, integer(0), 'All randomness of a run follows from this number.'),
    'arm': Field(
        '',
        one_of_or_empty(*ARMS),
        'The arm names a method of the paper and sets select, remove, margin and '
        "temperature_scale of pairs; with '' these fields decide.",
    ),
    'epochs': Field(
        100, integer(1), 'A run passes this many times over the images that it pre-trains on.'
    ),
    'steps': Field(
        0,
        integer(0),
        'A run makes this many updates, whatever the number of images; 0 means as many as epochs '
        'takes. The warm-up keeps its share of the run, warmup_epochs / epochs.',
    ),
    'equal_updates': Field(
        False,
        BOOL,
        'A run that leaves images out, by removal or mixed.drop, makes as many updates as it would '
        'with them; False means fewer.',
    ),
    'batch_size': Field(256, integer(2), 'Each step takes this many images, over all devices.'),
    'precision': Field(
        'auto',
        one_of('auto', 'float32', 'bfloat16'),
        'The encoder computes in this number type; auto means bfloat16 on accelerators and '
        'float32 on CPUs.',
    ),
    'checkpoint_every': Field(1000, integer(1), 'A checkpoint is saved after this many steps.'),
    'checkpoint_minutes': Field(
        10.0, number(0), 'At most this many minutes pass between two checkpoints; 0 means no limit.'
    ),
    'checkpoint_keep': Field(
        0,
        integer(0),
        'A checkpoint at each multiple of this number of steps stays beside the newest two; 0 '
        'keeps the newest two alone.',
    ),
    'init': Field(
        None,
        PATH,
        'The encoder begins with the weights of this workdir or encoder.safetensors instead of '
        'random ones.',
    ),
    'extend': Field(
        None,
        PATH,
        'The run goes on from the last step of this finished workdir, to more epochs or steps.',
    ),
    'on_nonfinite': Field(
        'stop',
        one_of('stop', 'skip'),
        'If loss or gradient are not finite, the run stops, or skips that update and counts it.',
    ),
    'data.name': Field(
        'digits',
        TEXT,
        'The images come from digits, npz, folder, or the TFDS data set of this name.',
    ),
    'data.data_dir': Field(
        None, PATH, 'The data is in this folder of TFDS, folder of images, or npz file.'
    ),
    'data.image_size': Field(
        0,
        integer(0),
        'Images are scaled and cropped to squares with this side, in pixels; 0 keeps them as '
        'they are.',
    ),
    'data.skip_broken': Field(False, BOOL, 'Leave out image files that cannot be read.'),
    'data.max_pixels': Field(
        178_956_970,
        integer(1),
        'Image files with a larger width times height are refused; the default is the limit of '
        'Pillow.',
    ),
    'data.stream': Field(False, BOOL, 'Leave the images on disk and read them while training.'),
    'data.workers': Field(
        2,
        integer(0),
        'This many processes read images; 0 means threads of the training process.',
        Needs('data.stream'),
    ),
    'long_tail.factor': Field(
        1.0,
        number(1),
        'The largest class is this many times as large as the smallest, with an exponential '
        'profile; this affects pre-training alone.',
    ),
    'mixed.ratio': Field(
        0.0, SHARE, 'This share of the images is mixed, each with an image of another class.'
    ),
    'mixed.drop': Field(
        False, BOOL, 'Leave out the images chosen for mixing instead of mixing them.'
    ),
    'mixed.weight': Field(
        0.5,
        SHARE,
        'An image has this weight in its mixture; its partner has the rest.',
        Needs('mixed.ratio'),
    ),
    'mixed.match_contrast': Field(False, BOOL, 'Give each mixed image the contrast of its source.'),
    'removal.ratio': Field(0.0, PART, 'This share of the images is left out of pre-training.'),
    'removal.method': Field(
        'difficulty',
        one_of('difficulty', 'boundary', 'sas', 'random', 'file'),
        'This score decides which images are left out; sas takes them within each latent '
        'class, and file means your own score.',
        Needs('removal.ratio'),
    ),
    'removal.scores': Field(
        None,
        PATH,
        'File of scores: npz or Parquet. The method file also takes npy, or a csv list of '
        'the images to leave out, with a column file or index.',
    ),
    'augment.crop': Field(True, BOOL, 'Crop a random part of each image and resize it.'),
    'augment.crop_scale': Field(
        0.08,
        number(0.01, 1),
        'A crop has at least this share of the area of its image.',
        Needs('augment.crop'),
    ),
    'augment.flip': Field(0.5, SHARE, 'Each view is flipped left to right with this probability.'),
    'augment.jitter': Field(
        0.8, SHARE, 'The colours of a view are jittered with this probability.'
    ),
    'augment.brightness': Field(
        0.8,
        number(0, 1),
        'The colour jitter changes the brightness by at most this relative amount.',
        Needs('augment.jitter'),
    ),
    'augment.contrast': Field(
        0.8,
        number(0, 1),
        'The colour jitter changes the contrast by at most this relative amount.',
        Needs('augment.jitter'),
    ),
    'augment.saturation': Field(
        0.8,
        number(0, 1),
        'The colour jitter changes the saturation by at most this relative amount.',
        Needs('augment.jitter'),
    ),
    'augment.hue': Field(
        0.2,
        number(0, 0.5),
        'The colour jitter turns the hue by at most this part of the circle.',
        Needs('augment.jitter'),
    ),
    'augment.greyscale': Field(0.2, SHARE, 'A view becomes grey with this probability.'),
    'augment.blur': Field(0.5, SHARE, 'A view is blurred by a Gaussian with this probability.'),
    'augment.blur_sigma': Field(
        2.0,
        number(0.1),
        'The blur has a standard deviation from 0.1 to this number of pixels.',
        Needs('augment.blur'),
    ),
    'model.name': Field(
        'resnet18',
        one_of(),  # Tasks add the names.
        'This network is trained: an encoder, or the network of another task.',
    ),
    'model.width': Field(64, integer(1), 'The first stage of an encoder has this many channels.'),
    'model.stem': Field(
        'cifar',
        one_of('cifar', 'imagenet'),
        'A ResNet begins with these layers; cifar has a 3x3 convolution with stride 1 and no '
        'pooling, for images up to 32 pixels, and up to 64 where time allows.',
    ),
    'model.projector_width': Field(2048, integer(1), 'The projector has this many hidden units.'),
    'model.projector_dim': Field(128, integer(1), 'The embedding has this many dimensions.'),
    'model.sync_batch_norm': Field(True, BOOL, 'Compute batch statistics over all devices.'),
}
_LAST: dict[str, Field] = {
    'pairs.select': Field(
        'none',
        one_of('none', 'difficult', 'all'),
        'These negative pairs are treated, unless config.arm names them.',
    ),
    'pairs.pos_high': Field(
        0.1,
        SHARE,
        'The difficult band begins at this share, counted from the most similar pair of an '
        'image down; 0.1: the most similar tenth counts as the same class.',
    ),
    'pairs.pos_low': Field(
        0.5,
        SHARE,
        'The difficult band ends at this share, counted from the most similar pair of an image '
        'down; 0.5: the less similar half counts as easy.',
    ),
    'pairs.remove': Field(False, BOOL, 'Leave the selected pairs out of the loss.'),
    'pairs.margin': Field(
        0.0,
        number(0),
        'The margin sigma is added to the cosine of a selected pair; an arm replaces 0 by 0.1.',
    ),
    'pairs.temperature_scale': Field(
        1.0,
        POSITIVE,
        'The factor rho multiplies tau for a selected pair; an arm replaces 1 by 0.7.',
    ),
    'monitor.every_epochs': Field(
        0,
        integer(0),
        'Each time this many epochs are done, and at the end of a shorter run, the monitor '
        'measures the encoder; 0 switches the monitor off.',
    ),
    'monitor.images': Field(
        1000,
        integer(2),
        'The monitor looks at this many training images, and at no more test images than that.',
        Needs('monitor.every_epochs'),
    ),
    'optimizer.name': Field(
        'lars',
        one_of('lars', 'lars_clipped', 'sgd', 'adamw'),
        'This optimiser trains the network; lars_clipped has a trust ratio that only lowers '
        'the rate, see docs/optimizers.md.',
    ),
    'optimizer.learning_rate': Field(
        0.4,
        POSITIVE,
        'The learning rate rises to this value for 256 images a step; it is scaled with the '
        'batch size.',
    ),
    'optimizer.warmup_epochs': Field(
        10.0,
        number(0),
        'The learning rate rises linearly for this many epochs, and then follows a cosine to 0.',
    ),
    'optimizer.weight_decay': Field(
        1e-4, number(0), 'All parameters but biases and normalisation have this weight decay.'
    ),
    'optimizer.momentum': Field(
        0.9,
        SHARE,
        'The optimisers lars, lars_clipped and sgd use this momentum.',
        Needs('optimizer.name', ('lars', 'lars_clipped', 'sgd')),
    ),
    'optimizer.trust_coefficient': Field(
        0.02,
        POSITIVE,
        'The optimisers lars and lars_clipped use this trust coefficient.',
        Needs('optimizer.name', ('lars', 'lars_clipped')),
    ),
    'probe.labels_per_class': Field(
        10, integer(1), 'The few-label probe draws this many labels of each class.'
    ),
    'probe.draws': Field(
        20, integer(1), 'The few-label probe is repeated with this many random draws of labels.'
    ),
    'probe.validation_share': Field(
        0.1,
        number(0.01, 0.5),
        'On this share of the training images the L2 strength is chosen and the validation '
        'accuracies are measured.',
    ),
    'probe.neighbours': Field(200, integer(1), 'This many neighbours vote in the weighted kNN.'),
    'probe.knn_temperature': Field(
        0.1, POSITIVE, 'The votes in the weighted kNN have this temperature.'
    ),
}

FIELDS: dict[str, Field] = _FIRST | _LAST

# A field whose path is as similar as this is most likely mistyped.
_TYPO = 0.85
# Fields that hold a path.
PATHS = tuple(path for path, field in FIELDS.items() if field.rule is PATH)
# A run goes on with other values of these: they change how it is run, and no number.
WITHOUT_EFFECT = frozenset(
    {
        'checkpoint_every',
        'checkpoint_minutes',
        'checkpoint_keep',
        'data.workers',
        'monitor.every_epochs',
        'monitor.images',
    }
)


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


def check_values(config: ConfigDict) -> None:
    """Checks every field by itself, as a stored config needs it: its run began with these fields.

    Raises:
      UserError: names the field, its value, and what is allowed.
    """
    _check_values(flatten(config))


def resolve(config: ConfigDict, given: Collection[str] = ()) -> tuple[ConfigDict, list[str]]:
    """A copy of a config in which `arm` and the fields of `pairs` say the same.

    `arms.resolve_fields` says how.

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
    changes, words = arms.resolve_fields(values, given)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    return config, words + _idle(values | changes, given)


def completed(stored: Mapping) -> dict[str, Any]:
    """The values that a stored config stands for, by path, its arm resolved.

    A run of before a field existed did what the default of the field says. Fields that are no
    longer known are kept.
    """
    values = {path: field.default for path, field in FIELDS.items()} | flatten(stored)
    if all(FIELDS[path].rule.holds(values[path]) for path in arms.PAIR_FIELDS):
        values |= arms.resolve_fields(values)[0]
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
        raise UserError(
            f'config.{path}: no such field; the nearest is config.{nearest_field(path)}; '
            'python -m contrastive_jax.config lists all'
        )


def check_value(path: str, value: Any) -> None:
    """Raises UserError, with the nearest name, unless a field may have this value."""
    rule = FIELDS[path].rule
    if not rule.holds(value):
        names = rule.allowed.removeprefix('one of ').split(', ')
        near = difflib.get_close_matches(str(value), names, n=1)
        hint = f'; did you mean {near[0]}?' if near else ''
        raise UserError(f'config.{path}={value!r}: must be {rule.allowed}{hint}')


def nearest_field(path: str) -> str:
    """The field that is most likely meant: one with this last name or its initials, or alike."""
    section, _, name = path.rpartition('.')

    def alike(text: str, other: str) -> float:
        return difflib.SequenceMatcher(None, text, other).ratio()

    def likeness(field: str) -> tuple[bool, bool, bool, float]:
        own_section, _, own = field.rpartition('.')
        initials = ''.join(word[:1] for word in own.split('_'))
        here = own_section == section
        whole = alike(path, field)
        # The last name as it is, the beginning of one, its initials, or its last word.
        same = own == name or ((here or not section) and name in (own[: len(name)], initials))
        word = here and name in own.split('_')
        return whole > _TYPO, same or word, here and section != '', max(whole, alike(name, own))

    return max(FIELDS, key=likeness)


def differences(old: Mapping, new: Mapping, besides: Collection[str] = ()) -> list[str]:
    """Names the fields in which two configs differ, with both values; not those without effect.

    Args:
      old: the config there.
      new: the config here.
      besides: paths of fields that may differ as well.
    """
    old, new = flatten(old), flatten(new)
    return [
        f'{path}: {_shown(old, path)} there, {_shown(new, path)} here'
        for path in sorted((old.keys() | new.keys()) - WITHOUT_EFFECT.union(besides))
        if path not in old or path not in new or old[path] != new[path]
    ]


def flatten(config, prefix: str = '') -> dict[str, Any]:
    """The values of a config, or of any nested dict, by their paths such as `pairs.margin`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        path = f'{prefix}{name}'
        flat |= flatten(value, path + '.') if hasattr(value, 'items') else {path: value}
    return flat


def _check_values(values: Mapping[str, Any]) -> None:
    for path in values:
        check_field(path)
    for path in FIELDS:
        if path not in values:
            raise UserError(f'config.{path}: missing; start the config from config.default()')
        check_value(path, values[path])


def _idle(values: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """A line for each given field that has no effect beside the others."""
    lines = []
    for path in given:
        needs = FIELDS[path].needs
        if needs is not None and not needs.met(values):
            lines.append(
                f'config.{path}={values[path]!r}: has no effect with '
                f'config.{needs.path}={values[needs.path]!r}'
            )
    return lines


def _shown(values: Mapping[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else 'absent'
