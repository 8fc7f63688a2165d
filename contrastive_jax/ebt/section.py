"""The config fields of denoisers. `config.sections` says why this module imports nothing heavy."""

from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from contrastive_jax.config.rules import BOOL, POSITIVE, Field, Needs, integer, number, one_of
from contrastive_jax.config.sections import Section
from contrastive_jax.errors import UserError
from contrastive_jax.tasks.sections import ENCODERS

__all__ = ['DENOISE', 'DENOISERS', 'LEVELS', 'SIZES', 'Size', 'diffusion_levels']


class Size(NamedTuple):
    """Blocks, heads and width of a transformer."""

    depth: int
    heads: int
    width: int


SIZES = {'small': Size(2, 4, 48), 'base': Size(6, 6, 192)}
# The denoisers that think.
_ENERGIES = ('energy', 'energy_conditioned')
DENOISERS = (*_ENERGIES, 'feedforward', 'diffusion')
# Number of levels of the noise schedule; `denoise.level` is one of them.
LEVELS = 1000

_SHARED = {
    'model.size': Field('small', one_of(*SIZES), 'The transformer of a denoiser has this size.'),
    'model.patch': Field(
        4, integer(1), 'A denoiser sees square patches with this side, in pixels.'
    ),
    'denoise.level': Field(
        99,
        integer(0),
        'Training images have noise of this level, from 0 to 332 of 1,000 levels; diffusion is '
        'trained with all levels up to three times this one.',
    ),
}
_THINKING = {
    'denoise.steps': Field(
        2, integer(1), 'The training of an energy takes at most this many steps of thinking.'
    ),
    'denoise.least_steps': Field(
        2,
        integer(1),
        'The training of an energy takes at least this many steps of thinking. If it is below '
        'denoise.steps, each batch draws its number, and denoise.loss must be last.',
    ),
    'denoise.step_size': Field(
        47.0,
        POSITIVE,
        'A step of thinking begins with this size for each token; training changes it.',
    ),
    'denoise.step_size_spread': Field(
        1.0,
        number(1),
        'A random factor between 1 / this value and this value scales the learned step size.',
    ),
    'denoise.langevin': Field(
        0.0,
        number(0),
        'In training, each step of thinking adds noise with this standard deviation.',
    ),
    'denoise.detach': Field(
        True,
        BOOL,
        'Stop the gradient between steps of thinking; False passes it through all of them.',
    ),
    'denoise.loss': Field(
        'all', one_of('all', 'last'), 'The loss includes these states of thinking.'
    ),
}


def diffusion_levels(level: int) -> int:
    """Number of levels, from 0 on, on which diffusion is trained where others have `level`."""
    return 3 * (level + 1)


def _check(config: ConfigDict) -> None:
    name, options = config.model.name, config.denoise
    if name not in DENOISERS:
        return
    if config.pairs.select != 'none' or config.moco.queue_size:
        raise UserError(
            f'config.model.name={name!r}: a denoiser compares no pairs; set '
            'config.arm=simclr and config.moco.queue_size=0, or choose an encoder of '
            f'{", ".join(ENCODERS)}'
        )
    if config.loss.name != 'nt_xent':
        raise UserError(
            f'config.loss.name={config.loss.name!r}: a denoiser has its own loss; leave it at '
            f'nt_xent, or choose an encoder of {", ".join(ENCODERS)}'
        )
    if config.data.stream:
        raise UserError(
            f'config.data.stream=True: reads crops for views, but config.model.name={name!r} '
            'denoises whole images; set config.data.stream=False'
        )
    if diffusion_levels(options.level) > LEVELS:
        raise UserError(
            f'config.denoise.level={options.level}: must be below {LEVELS // 3}, because diffusion '
            f'is trained on the levels up to three times this one, and there are {LEVELS}'
        )
    if options.least_steps > options.steps:
        raise UserError(
            f'config.denoise.least_steps={options.least_steps}: must not exceed '
            f'config.denoise.steps={options.steps}'
        )
    if options.least_steps < options.steps and options.loss == 'all':
        raise UserError(
            f'config.denoise.least_steps={options.least_steps}: has no effect '
            f'with config.denoise.loss=all; set it to config.denoise.steps={options.steps}, or set '
            'config.denoise.loss=last'
        )


def _for_models(models: tuple[str, ...], fields: Mapping[str, Field]) -> dict[str, Field]:
    needs = Needs('model.name', models)
    return {path: field._replace(needs=needs) for path, field in fields.items()}


DENOISE = Section(
    'contrastive_jax.ebt.denoise',
    lambda config: config.model.name in DENOISERS,
    _for_models(DENOISERS, _SHARED) | _for_models(_ENERGIES, _THINKING),
    DENOISERS,
    _check,
)
