"""The config fields of contrastive pre-training.

`config.sections` says why this module imports nothing heavy.
"""

from ml_collections import ConfigDict

from contrastive_jax.config.rules import (
    BOOL,
    PART,
    POSITIVE,
    Field,
    Needs,
    integer,
    number,
    one_of,
)
from contrastive_jax.config.sections import Section
from contrastive_jax.errors import UserError

__all__ = ['CONTRAST', 'ENCODERS', 'MOCO']

ENCODERS = ('conv', 'resnet18', 'resnet34', 'resnet50')
# Losses that accept selected pairs.
_TREATED = ('nt_xent', 'spectral')

_LOSS = {
    'loss.name': Field(
        'nt_xent',
        one_of('nt_xent', 'spectral', 'debiased', 'hard_negative', 'decoupled', 'supervised'),
        'The encoder is trained for this objective.',
    ),
    'loss.temperature': Field(
        0.5,
        POSITIVE,
        'The loss divides cosines by this temperature tau; the spectral loss has none.',
    ),
    'loss.block_size': Field(
        0,
        integer(0),
        'The loss compares this many anchors at a time, which bounds its memory; 0 chooses '
        'by the number of rows.',
    ),
    'loss.mu': Field(
        1.0,
        POSITIVE,
        'The spectral loss bounds the squared length of an embedding by this number.',
        Needs('loss.name', ('spectral',)),
    ),
    'loss.tau_plus': Field(
        0.1,
        number(0, 0.99),
        'The losses debiased and hard_negative assume this class prior: one over the number of '
        'classes, if all are equally large.',
        Needs('loss.name', ('debiased', 'hard_negative')),
    ),
    'loss.beta': Field(
        1.0,
        number(0),
        'A larger beta makes hard_negative concentrate more on similar pairs.',
        Needs('loss.name', ('hard_negative',)),
    ),
    'loss.weight_temperature': Field(
        0.0,
        number(0),
        'The weights of the loss decoupled have this temperature; 0 is DCL, and DCLW takes 0.5.',
        Needs('loss.name', ('decoupled',)),
    ),
}
_MOCO = {
    'moco.queue_size': Field(
        0, integer(0), 'The queue keeps this many keys as negatives; 0 means SimCLR.'
    ),
    'moco.momentum': Field(
        0.99,
        PART,
        'The momentum encoder keeps this share of itself in an update.',
        Needs('moco.queue_size'),
    ),
    'moco.symmetric': Field(
        False, BOOL, 'Use each view as the query of the other.', Needs('moco.queue_size')
    ),
    'moco.shuffle': Field(
        False, BOOL, 'Encode keys on other devices than their queries.', Needs('moco.queue_size')
    ),
}


def _check_contrast(config: ConfigDict) -> None:
    if config.pairs.select != 'none' and config.loss.name not in _TREATED:
        raise UserError(
            f'config.pairs.select={config.pairs.select!r}: config.loss.name={config.loss.name!r} '
            f'treats no pairs; choose config.arm=simclr, or a loss of {", ".join(_TREATED)}'
        )


def _check_moco(config: ConfigDict) -> None:
    size = config.moco.queue_size
    if not size:
        return
    if config.loss.name != 'nt_xent':
        raise UserError(
            f'config.loss.name={config.loss.name!r}: with a queue (config.moco.queue_size={size}) '
            'only nt_xent is defined; choose it, or config.moco.queue_size=0'
        )
    count = config.batch_size * (2 if config.moco.symmetric else 1)
    if size % count:
        raise UserError(
            f'config.moco.queue_size={size}: must be a multiple of the {count} keys of a step; the '
            f'nearest is {max(1, round(size / count)) * count}'
        )
    if config.moco.shuffle and config.model.sync_batch_norm:
        raise UserError(
            'config.moco.shuffle=True: has no effect with batch norm over all devices; set '
            'config.model.sync_batch_norm=False, or config.moco.shuffle=False'
        )


# The last registered task that matches a config is chosen. CONTRAST matches every config, so it is
# the default.
CONTRAST = Section(
    'contrastive_jax.tasks.contrast', lambda config: True, _LOSS, ENCODERS, _check_contrast
)
MOCO = Section(
    'contrastive_jax.tasks.moco',
    lambda config: config.moco.queue_size > 0,
    _MOCO,
    check=_check_moco,
)
