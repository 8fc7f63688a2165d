"""Beside Corollary 4.1: leaving out the most difficult images, or as many at random.

All cells make as many updates as the full set does; else the ratio would decide how many. Other
scores are compared by the grid `removal`.
"""

from . import PLAIN, Fields, ScoresOf

CELLS: dict[str, Fields] = {'full': PLAIN}
for _ratio in (0.05, 0.1, 0.2, 0.3, 0.5):
    _fields = PLAIN | {'removal.ratio': _ratio, 'equal_updates': True}
    CELLS[f'difficulty {_ratio}'] = _fields | {
        'removal.method': 'difficulty',
        'removal.scores': ScoresOf('full'),
    }
    CELLS[f'random {_ratio}'] = _fields | {'removal.method': 'random'}
