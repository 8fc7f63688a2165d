"""What a scoring in tiles is asked for, and whether it can be had.

Axes: n samples.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.graph.landmarks import check_landmarks
from contrastive_jax.numerics import check_percentiles
from contrastive_jax.randomness import check_seed

__all__ = [
    'COLUMNS',
    'POS_HIGH',
    'POS_LOW',
    'Request',
    'check_columns',
    'check_request',
    'small_band',
]

COLUMNS = ('score', 'isolation', 'boundary', 'supervised_margin', 'partner')
# The difficult band of features from elsewhere: that of a data set of ten classes.
POS_HIGH, POS_LOW = 0.1, 0.5
# Landmarks in the top band from which its mean and threshold are taken to be good.
_LEAST_IN_BAND = 50


class Request(NamedTuple):
    """What is computed.

    Attributes:
      pos_high: percentile at which the difficult band begins, in [0, pos_low].
      pos_low: percentile at which it ends, in [pos_high, 1].
      landmarks: number of landmarks, or None for all rows.
      seed: of the draw of landmarks.
      columns: of `COLUMNS`; 'score' is always computed.
    """

    pos_high: float = POS_HIGH
    pos_low: float = POS_LOW
    landmarks: int | None = None
    seed: int = 0
    columns: tuple[str, ...] = ('score',)


def check_columns(columns: Iterable[str], sas_size: str = '') -> None:
    """Raises UserError, with what `sas` would need, for a column that tiles cannot have."""
    unknown = [name for name in columns if name not in COLUMNS]
    if not unknown:
        return
    why = ''
    if 'sas' in unknown:
        why = (
            f'; sas needs k-means of all features in memory{sas_size}; without --columns and '
            '--landmarks all scores are computed at once'
        )
    raise UserError(f'--columns={",".join(unknown)}: need some of {", ".join(COLUMNS)}{why}')


def check_request(request: Request, n: int, k: int, labels: np.ndarray | None) -> tuple[str, ...]:
    """The columns to compute, those that others need included, in order.

    Raises:
      UserError: a seed below 0, percentiles out of order, landmarks out of range, or columns that
        cannot be had.
    """
    try:
        check_seed(request.seed)
        check_percentiles(request.pos_high, request.pos_low)
        if request.landmarks is not None:
            check_landmarks(request.landmarks, n)
    except ValueError as error:
        raise UserError(str(error)) from error
    # k-means holds the features in float64, and a copy of them.
    check_columns(request.columns, f', {16 * n * k / 2**30:.1f} GiB')
    wanted = {'score', *request.columns}
    if 'boundary' in wanted:
        wanted.add('isolation')
    if 'supervised_margin' in wanted and (labels is None or len(np.unique(labels)) < 2):
        raise UserError('--columns=supervised_margin: needs --labels of at least two classes')
    return tuple(name for name in COLUMNS if name in wanted)


def small_band(request: Request, n: int) -> str | None:
    """A line if the top band holds too few landmarks."""
    if request.landmarks is None or request.pos_high == 0:
        return None
    held = request.pos_high * request.landmarks
    if held >= _LEAST_IN_BAND:
        return None
    enough = round(_LEAST_IN_BAND / request.pos_high)
    more = f'landmarks={enough} puts {_LEAST_IN_BAND} into it, and ' if enough < n else ''
    # Words of the command and of the function alike.
    return (
        f'note: the top band, pos_high={request.pos_high}, holds {held:.0f} of '
        f'{request.landmarks} landmarks, too few for its mean and threshold; {more}'
        'without landmarks the score is exact'
    )
