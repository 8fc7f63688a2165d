"""Fig. 4: where the difficult band begins and ends; its share of pairs of different classes."""

from . import PLAIN, Fields

CELLS: dict[str, Fields] = {'baseline': PLAIN}
for _high in (0.05, 0.1, 0.2, 0.3):
    for _low in (0.4, 0.6, 0.8, 1.0):
        CELLS[f'{_high} to {_low}'] = {
            'arm': 'combined',
            'pairs.pos_high': _high,
            'pairs.pos_low': _low,
        }
