"""How config fields that belong to no task have to fit together; tasks check their own."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from contrastive_jax.config.arms import ARMS
from contrastive_jax.config.table import FIELDS
from contrastive_jax.errors import UserError

__all__ = [
    'check_data_section',
    'check_mixes_nothing',
    'check_removal',
    'check_together',
]


def check_together(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Checks fields that are allowed by themselves against each other.

    Args:
      config: with its arm resolved.
      values: the same, flattened.

    Raises:
      UserError: names the field, its value, and what is allowed beside the others.
    """
    _validate_pairs(config.pairs)
    if config.removal.ratio and config.removal.method != 'random' and not config.removal.scores:
        raise UserError(
            f'config.removal.scores=None: config.removal.method={config.removal.method!r} needs '
            'scores; train a run, score it with python -m contrastive_jax.score --workdir=RUN, '
            'and give RUN/scores.npz'
        )
    check_data_section(config.data)
    if config.data.stream:
        check_mixes_nothing(config.mixed)
    if config.init and config.extend:
        raise UserError(
            f'config.init={config.init!r}: has no effect with config.extend={config.extend!r}, '
            'which brings all weights; give one of them'
        )
    if config.steps and config.equal_updates:
        raise UserError(
            f'config.equal_updates=True: has no effect with config.steps={config.steps}, which '
            'fixes the number of updates; give one of them'
        )
    _check_switches(values)
    if config.mixed.drop and config.mixed.match_contrast:
        raise UserError(
            'config.mixed.match_contrast=True: has no effect with config.mixed.drop=True, which '
            'leaves the images out that would be mixed; give one of them'
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


def check_removal(removal: ConfigDict) -> None:
    """Checks that scores for removal have an effect. Runs of earlier versions need not pass.

    Raises:
      UserError: scores, and nothing is removed by them.
    """
    if not removal.scores:
        return
    where = f'config.removal.scores={removal.scores!r}'
    if not removal.ratio:
        raise UserError(
            f'{where}: nothing is removed while config.removal.ratio=0.0; set that above 0, or '
            'leave the scores out'
        )
    if removal.method == 'random':
        raise UserError(
            f"{where}: has no effect with config.removal.method='random'; leave it out, or choose "
            'another method'
        )


def check_mixes_nothing(mixed: ConfigDict) -> None:
    """Raises UserError if images would be mixed, which images on disk cannot be."""
    if mixed.ratio and not mixed.drop:
        raise UserError(
            f'config.mixed.ratio={mixed.ratio}: images are mixed in memory; set '
            'config.data.stream=False with a config.data.image_size that fits, or leave it at 0'
        )


def check_data_section(data: ConfigDict) -> None:
    """Checks the fields of `data` against each other.

    Raises:
      UserError: names the field, its value, and what is allowed beside the others.
    """
    if data.name in ('digits', 'npz') and (data.stream or data.image_size):
        raise UserError(
            f'config.data.name={data.name!r}: its images are in memory and keep their size; '
            'leave config.data.stream at False and config.data.image_size at 0'
        )
    if data.stream and not data.image_size:
        raise UserError(
            'config.data.image_size=0: with config.data.stream=True set the side of the crops, '
            'such as 224'
        )


def _check_switches(values: Mapping[str, Any]) -> None:
    """Raises UserError for a switch that is on while the number that it needs is 0."""
    for path, field in FIELDS.items():
        needs = field.needs
        if field.default is not False or needs is None or needs.values:
            continue
        if values[path] and not needs.met(values):
            raise UserError(
                f'config.{path}=True: does nothing while config.{needs.path}={values[needs.path]}; '
                'set that above 0, or leave this False'
            )


def _validate_pairs(pairs: ConfigDict) -> None:
    if pairs.pos_high > pairs.pos_low:
        raise UserError(
            f'config.pairs.pos_high={pairs.pos_high}: must not exceed '
            f'config.pairs.pos_low={pairs.pos_low}; both count from the most similar pair down'
        )
    if pairs.select == 'difficult' and pairs.pos_high == pairs.pos_low:
        raise UserError(
            f'config.pairs.pos_high={pairs.pos_high}: equals config.pairs.pos_low, so no pair is '
            'difficult; set it below, or choose config.arm=simclr'
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
