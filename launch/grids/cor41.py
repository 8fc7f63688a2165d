"""Beside Corollary 4.1: leaving out the most difficult images, or as many at random.

All cells make as many updates as the full set does; else the ratio would decide how many.
"""

from . import PLAIN, Fields, ScoresOf

CELLS: dict[str, Fields] = {'full': PLAIN}
for _ratio in (0.05, 0.1, 0.2, 0.3, 0.5):
    for _method in ('difficulty', 'boundary'):
        CELLS[f'{_method} {_ratio}'] = PLAIN | {
            'removal.method': _method,
            'removal.ratio': _ratio,
            'removal.scores': ScoresOf('full'),
            'equal_updates': True,
        }
    CELLS[f'random {_ratio}'] = PLAIN | {
        'removal.method': 'random',
        'removal.ratio': _ratio,
        'equal_updates': True,
    }
