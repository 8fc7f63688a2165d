"""How config fields have to fit together; each by itself is checked by the table of `config`."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from contrastive_jax.config.arms import ARMS
from contrastive_jax.ebt.denoisers import DENOISERS
from contrastive_jax.ebt.noise import LEVELS
from contrastive_jax.errors import UserError

__all__ = ['ENCODERS', 'check_together']

ENCODERS = ('conv', 'resnet18', 'resnet34', 'resnet50')
# Switches that say how something is done, and the number that says whether it is.
_NEEDS = {
    'mixed.drop': 'mixed.ratio',
    'mixed.match_contrast': 'mixed.ratio',
    'moco.symmetric': 'moco.queue_size',
    'moco.shuffle': 'moco.queue_size',
}
# Losses that take a selection of pairs.
_TREATED = ('nt_xent', 'spectral')


def check_together(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Checks fields that are allowed by themselves against each other.

    Args:
      config: with its arm resolved.
      values: the same, flattened.

    Raises:
      UserError: names the field, its value, and what is allowed beside the others.
    """
    _validate_pairs(config.pairs)
    if config.pairs.select != 'none' and config.loss.name not in _TREATED:
        raise UserError(
            f'config.pairs.select={config.pairs.select!r}: config.loss.name={config.loss.name!r} '
            f'treats no pairs; choose config.arm=simclr, or a loss of {", ".join(_TREATED)}'
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
            'temperature_scale would do nothing; name an arm instead, such as config.arm=margin, '
            'select difficult or all, or leave them at False, 0 and 1'
        )
    if pairs.select == 'all' and pairs.remove:
        raise UserError(
            'config.pairs.remove=True: with select=all no negative would be left; '
            'choose config.arm=removal, which selects difficult pairs, or another arm of '
            f'{", ".join(ARMS)}'
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
            'config.arm=simclr and config.moco.queue_size=0, or choose an encoder of '
            f'{", ".join(ENCODERS)}'
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
