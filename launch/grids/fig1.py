"""Fig. 1: core subsets by SAS against the full set, and against as few images at random."""

from . import PLAIN, Fields, ScoresOf

_RATIOS = (0.2, 0.4, 0.6, 0.8)

CELLS: dict[str, Fields] = {'full': PLAIN}
for _ratio in _RATIOS:
    CELLS[f'sas {_ratio}'] = PLAIN | {
        'removal.method': 'sas',
        'removal.ratio': _ratio,
        'removal.scores': ScoresOf('full'),
    }
    CELLS[f'random {_ratio}'] = PLAIN | {'removal.method': 'random', 'removal.ratio': _ratio}
