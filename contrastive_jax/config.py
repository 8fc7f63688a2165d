"""Every config field with its default, what it allows and what it means, in one table.

`configs/*.py` start from `default()`; `validate` is called before anything is compiled.
"""

import difflib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict, config_dict

from contrastive_jax.data.noise import LEVELS
from contrastive_jax.errors import UserError
from contrastive_jax.models import DENOISERS, SIZES

__all__ = ['FIELDS', 'PATHS', 'check_field', 'default', 'differences', 'flatten', 'validate']


class Rule(NamedTuple):
    """What a value must satisfy, in words and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


class Field(NamedTuple):
    """One config field."""

    default: Any
    rule: Rule
    meaning: str


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(least: int) -> Rule:
    return Rule(
        f'an integer of at least {least}, and below 2**31',
        lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v < 2**31,
    )


# Beyond these a number or its square is 0 or infinite in float32, and so would be the loss.
_LEAST, _MOST = 1e-18, 1e18


def _number(least: int | float, most: int | float = _MOST) -> Rule:
    words = f'a number in [{least}, {most}]' if most < _MOST else f'a number >= {least}'
    return Rule(words, lambda v: _is_number(v) and least <= v <= most)


_POSITIVE = Rule(
    f'a number above 0, from {_LEAST} to {_MOST}', lambda v: _is_number(v) and _LEAST <= v <= _MOST
)
_SHARE = _number(0, 1)
_PART = Rule('a number in [0, 1)', lambda v: _is_number(v) and 0 <= v < 1)
_BOOL = Rule('True or False', lambda v: isinstance(v, bool))
_TEXT = Rule('a text', lambda v: isinstance(v, str) and v != '' and v.isprintable())
_PATH = Rule('a path, or None', lambda v: v is None or (isinstance(v, str) and _is_path(v)))


def _is_path(text: str) -> bool:
    # Python holds bytes of a path that are no UTF-8 as these surrogates.
    return _TEXT.holds(re.sub('[\udc80-\udcff]', '?', text))


def _one_of(*values: str) -> Rule:
    return Rule(f'one of {", ".join(values)}', lambda v: isinstance(v, str) and v in values)


_ENCODERS = ('conv', 'resnet18', 'resnet34', 'resnet50')

FIELDS: dict[str, Field] = {
    'seed': Field(0, _integer(0), 'root of all randomness'),
    'epochs': Field(100, _integer(1), 'passes over the pre-training images'),
    'batch_size': Field(256, _integer(2), 'images a step, over all devices'),
    'precision': Field(
        'auto',
        _one_of('auto', 'float32', 'bfloat16'),
        'of the encoder; auto: bfloat16 on accelerators, float32 on a CPU',
    ),
    'checkpoint_every': Field(1000, _integer(1), 'steps between checkpoints'),
    'checkpoint_minutes': Field(
        10.0, _number(0), 'largest time between checkpoints, in minutes; 0 for no limit'
    ),
    'on_nonfinite': Field(
        'stop',
        _one_of('stop', 'skip'),
        'where loss or gradient are not finite: stop, or leave that update out and count it',
    ),
    'data.name': Field('digits', _TEXT, 'digits, npz, folder, or a TFDS name such as cifar10'),
    'data.data_dir': Field(None, _PATH, 'TFDS data folder, the npz file, or the image folder'),
    'data.image_size': Field(
        0, _integer(0), 'side of the squares that images are scaled and cropped to; 0: as they are'
    ),
    'data.skip_broken': Field(False, _BOOL, 'leave out image files that cannot be read'),
    'data.max_pixels': Field(
        178_956_970,
        _integer(1),
        'largest width times height of an image file; the default is the limit of Pillow',
    ),
    'data.stream': Field(False, _BOOL, 'leave the images on disk and read them while training'),
    'data.workers': Field(2, _integer(0), 'processes that read; 0 for threads of this one'),
    'long_tail.factor': Field(
        1.0, _number(1), 'largest class over smallest; pre-training alone, exponential profile'
    ),
    'mixed.ratio': Field(0.0, _SHARE, 'part of the images mixed with one of another class'),
    'mixed.drop': Field(False, _BOOL, 'leave those images out instead of mixing them'),
    'mixed.weight': Field(0.5, _SHARE, 'lambda: of the image itself, the rest of its partner'),
    'mixed.match_contrast': Field(False, _BOOL, 'give a mixed image the contrast of its source'),
    'removal.ratio': Field(0.0, _PART, 'part of the images to pre-train without'),
    'removal.method': Field(
        'difficulty',
        _one_of('difficulty', 'boundary', 'sas', 'random', 'file'),
        'by the score of that name, sas within each latent class; file: by a score of yours',
    ),
    'removal.scores': Field(None, _PATH, 'scores.npz of contrastive_jax.score; for file also npy'),
    'augment.crop': Field(True, _BOOL, 'random resized crop'),
    'augment.crop_scale': Field(0.08, _number(0.01, 1), 'smallest share of the area kept'),
    'augment.flip': Field(0.5, _SHARE, 'probability of a left-right flip'),
    'augment.jitter': Field(0.8, _SHARE, 'probability of the colour jitter'),
    'augment.brightness': Field(0.8, _number(0, 1), 'largest relative change'),
    'augment.contrast': Field(0.8, _number(0, 1), 'largest relative change'),
    'augment.saturation': Field(0.8, _number(0, 1), 'largest relative change'),
    'augment.hue': Field(0.2, _number(0, 0.5), 'largest turn of the colour circle'),
    'augment.greyscale': Field(0.2, _SHARE, 'probability of greyscale'),
    'augment.blur': Field(0.5, _SHARE, 'probability of a Gaussian blur'),
    'augment.blur_sigma': Field(2.0, _number(0.1), 'largest standard deviation, pixels; least 0.1'),
    'model.name': Field(
        'resnet18',
        _one_of(*_ENCODERS, *DENOISERS),
        'encoder; or a denoiser, which is then trained for that',
    ),
    'model.width': Field(64, _integer(1), 'channels of the first stage, of an encoder'),
    'model.size': Field('small', _one_of(*SIZES), 'of the transformer of a denoiser'),
    'model.patch': Field(4, _integer(1), 'side of the squares that a denoiser sees, pixels'),
    'model.stem': Field(
        'cifar',
        _one_of('cifar', 'imagenet'),
        'of a ResNet; cifar: 3x3, stride 1, no pooling, for images up to 64 pixels',
    ),
    'model.projector_width': Field(2048, _integer(1), 'hidden units of the projector'),
    'model.projector_dim': Field(128, _integer(1), 'dimensions of the embedding'),
    'model.sync_batch_norm': Field(True, _BOOL, 'batch statistics over all devices'),
    'loss.name': Field(
        'nt_xent',
        _one_of('nt_xent', 'spectral', 'debiased', 'hard_negative', 'decoupled', 'supervised'),
        'objective',
    ),
    'loss.temperature': Field(0.5, _POSITIVE, 'tau; the spectral loss has none'),
    'loss.block_size': Field(
        0, _integer(0), 'anchors at a time, to bound memory; 0 for the default'
    ),
    'loss.mu': Field(1.0, _POSITIVE, 'largest squared length of a row, of spectral'),
    'loss.tau_plus': Field(0.1, _number(0, 0.99), 'class prior, of debiased and hard_negative'),
    'loss.beta': Field(1.0, _number(0), 'concentration, of hard_negative'),
    'loss.weight_temperature': Field(0.0, _number(0), 'of decoupled: DCLW, 0.5 there; 0 for DCL'),
    'denoise.level': Field(
        99, _integer(0), 'of the noise trained with, of 1,000; diffusion: three times the levels'
    ),
    'denoise.steps': Field(2, _integer(1), 'of thinking while an energy is trained, at most'),
    'denoise.least_steps': Field(
        2, _integer(1), 'drawn for each batch from here to the most; with loss=last'
    ),
    'denoise.step_size': Field(47.0, _POSITIVE, 'of thinking at first, for each token; learned'),
    'denoise.step_size_spread': Field(
        1.0, _number(1), 'factor by which that of an image is drawn larger or smaller at most'
    ),
    'denoise.langevin': Field(0.0, _number(0), 'standard deviation of the noise of a step'),
    'denoise.detach': Field(True, _BOOL, 'no gradient through earlier steps; False: the unroll'),
    'denoise.loss': Field('all', _one_of('all', 'last'), 'states of thinking that count'),
    'moco.queue_size': Field(0, _integer(0), 'keys kept as negatives; 0 for SimCLR'),
    'moco.momentum': Field(0.99, _PART, 'of the second encoder'),
    'moco.symmetric': Field(False, _BOOL, 'each view asks for the other, not the first alone'),
    'moco.shuffle': Field(False, _BOOL, 'keys are encoded on other devices than their queries'),
    'pairs.select': Field('none', _one_of('none', 'difficult', 'all'), 'pairs that are treated'),
    'pairs.pos_high': Field(0.1, _SHARE, 'percentile above which a pair counts as one class'),
    'pairs.pos_low': Field(0.5, _SHARE, 'percentile below which a pair counts as easy'),
    'pairs.remove': Field(False, _BOOL, 'leave the selected pairs out of the loss'),
    'pairs.margin': Field(0.0, _number(0), 'sigma, added to the cosine of a selected pair'),
    'pairs.temperature_scale': Field(1.0, _POSITIVE, 'rho, times tau for a selected pair'),
    'optimizer.name': Field(
        'lars',
        _one_of('lars', 'lars_clipped', 'sgd', 'adamw'),
        'optimiser; lars_clipped: a trust ratio that only lowers the rate, see docs/optimizers.md',
    ),
    'optimizer.learning_rate': Field(0.4, _POSITIVE, 'peak, for 256 images; scaled linearly'),
    'optimizer.warmup_epochs': Field(10.0, _number(0), 'linear warm-up, then cosine to 0'),
    'optimizer.weight_decay': Field(1e-4, _number(0), 'not on biases and normalisation'),
    'optimizer.momentum': Field(0.9, _SHARE, 'of lars, lars_clipped and sgd'),
    'optimizer.trust_coefficient': Field(0.02, _POSITIVE, 'of lars and lars_clipped'),
    'probe.labels_per_class': Field(10, _integer(1), 'of the few-label probe'),
    'probe.draws': Field(20, _integer(1), 'of the few-label probe'),
    'probe.validation_share': Field(0.1, _number(0.01, 0.5), 'held out to choose the L2 strength'),
    'probe.neighbours': Field(200, _integer(1), 'of the weighted kNN'),
    'probe.knn_temperature': Field(0.1, _POSITIVE, 'of the weighted kNN'),
}


# Fields that hold a path.
PATHS = tuple(path for path, field in FIELDS.items() if field.rule is _PATH)

# Switches that say how something is done, and the number that says whether it is.
_NEEDS = {
    'mixed.drop': 'mixed.ratio',
    'mixed.match_contrast': 'mixed.ratio',
    'moco.symmetric': 'moco.queue_size',
    'moco.shuffle': 'moco.queue_size',
}
# Losses that take a selection of pairs.
_TREATED = ('nt_xent', 'spectral')
# A run goes on with other values of these: they change how it is run, and no number.
_WITHOUT_EFFECT = {'data.workers'}


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
    """Checks every field by itself, then the fields against each other.

    Raises:
      UserError: names the field, its value, what is allowed and, for a typing error, the nearest
        field.
    """
    values = flatten(config)
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
    _validate_pairs(config.pairs)
    if config.pairs.select != 'none' and config.loss.name not in _TREATED:
        raise UserError(
            f'config.pairs.select={config.pairs.select!r}: config.loss.name={config.loss.name!r} '
            f'treats no pairs; choose none, or a loss of {", ".join(_TREATED)}'
        )
    _validate_moco(config)
    _validate_denoise(config)
    if config.removal.ratio and config.removal.method != 'random' and not config.removal.scores:
        raise UserError(
            f'config.removal.scores=None: config.removal.method={config.removal.method!r} needs '
            'scores; train a run, score it with python -m contrastive_jax.score --workdir=RUN, '
            'and give RUN/scores.npz'
        )
    for path, needed in _NEEDS.items():
        if values[path] and not values[needed]:
            raise UserError(
                f'config.{path}=True: does nothing while config.{needed}={values[needed]}; set '
                'that above 0, or leave this False'
            )
    if config.mixed.drop and config.mixed.ratio == 1:
        raise UserError(
            'config.mixed.drop=True: with config.mixed.ratio=1 no image is left; choose less than 1'
        )
    if config.optimizer.warmup_epochs >= config.epochs:
        raise UserError(
            f'config.optimizer.warmup_epochs={config.optimizer.warmup_epochs}: must be less than '
            f'config.epochs={config.epochs}'
        )


def _validate_moco(config: ConfigDict) -> None:
    size = config.moco.queue_size
    if not size:
        return
    if config.loss.name != 'nt_xent':
        raise UserError(
            f'config.loss.name={config.loss.name!r}: with a queue (config.moco.queue_size={size}) '
            'only nt_xent is defined; choose it, or a queue of 0'
        )
    count = config.batch_size * (2 if config.moco.symmetric else 1)
    if size % count:
        raise UserError(
            f'config.moco.queue_size={size}: must be a multiple of the {count} keys of a step; the '
            f'nearest is {max(1, round(size / count)) * count}'
        )
    if config.moco.shuffle and config.model.sync_batch_norm:
        raise UserError(
            'config.moco.shuffle=True: does nothing where batch norm is over all devices; set '
            'config.model.sync_batch_norm=False, or leave it'
        )


def _validate_denoise(config: ConfigDict) -> None:
    name, options = config.model.name, config.denoise
    if name not in DENOISERS:
        return
    if config.pairs.select != 'none' or config.moco.queue_size:
        raise UserError(
            f'config.model.name={name!r}: a denoiser compares no pairs; set '
            'config.pairs.select=none and config.moco.queue_size=0, or choose an encoder of '
            f'{", ".join(_ENCODERS)}'
        )
    if config.data.stream:
        raise UserError(
            f'config.data.stream=True: reads crops for views, and config.model.name={name!r} '
            'denoises whole images; leave it at False'
        )
    if 3 * (options.level + 1) > LEVELS:
        raise UserError(
            f'config.denoise.level={options.level}: must be below {LEVELS // 3}, since diffusion '
            f'is trained with three times as many of {LEVELS} levels'
        )
    if options.least_steps > options.steps:
        raise UserError(
            f'config.denoise.least_steps={options.least_steps}: must not exceed '
            f'config.denoise.steps={options.steps}'
        )
    if options.least_steps < options.steps and options.loss == 'all':
        raise UserError(
            f'config.denoise.least_steps={options.least_steps}: does nothing with '
            f'config.denoise.loss=all; set it to config.denoise.steps={options.steps}, or '
            'loss=last'
        )


def check_field(path: str) -> None:
    """Raises UserError, with the nearest name, unless there is a field `path`."""
    if path not in FIELDS:
        near = difflib.get_close_matches(path, FIELDS, n=1, cutoff=0.0)[0]
        raise UserError(f'config.{path}: no such field; the nearest is config.{near}')


def _validate_pairs(pairs: ConfigDict) -> None:
    if pairs.pos_high > pairs.pos_low:
        raise UserError(
            f'config.pairs.pos_high={pairs.pos_high}: must not exceed '
            f'config.pairs.pos_low={pairs.pos_low}; both count from the most similar pair down'
        )
    treated = pairs.remove or pairs.margin != 0 or pairs.temperature_scale != 1
    if pairs.select == 'none' and treated:
        raise UserError(
            "config.pairs.select='none': nothing is selected, so remove, margin and "
            'temperature_scale would do nothing; select difficult or all, or leave them at '
            'False, 0 and 1'
        )
    if pairs.select == 'all' and pairs.remove:
        raise UserError(
            'config.pairs.remove=True: with select=all no negative would be left; '
            'select difficult pairs, or use margin or temperature_scale'
        )


def differences(old: dict, new: dict) -> list[str]:
    """Names the fields in which two configs differ, with both values; not those without effect."""
    old, new = flatten(old), flatten(new)
    return [
        f'{path}: {old.get(path)!r} there, {new.get(path)!r} here'
        for path in sorted((old.keys() | new.keys()) - _WITHOUT_EFFECT)
        if old.get(path) != new.get(path)
    ]


def flatten(config, prefix: str = '') -> dict[str, Any]:
    """The values of a config, or of any nested dict, by their paths such as `pairs.margin`."""
    flat = {}
    for name, value in config.items():
        path = f'{prefix}{name}'
        flat |= flatten(value, path + '.') if hasattr(value, 'items') else {path: value}
    return flat
