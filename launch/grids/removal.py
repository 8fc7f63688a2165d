"""Leaving out 20 % of the images by four scores, with equal epochs or equal updates."""

from . import PLAIN, Fields, ScoresOf

CELLS: dict[str, Fields] = {'full': PLAIN}
for _method in ('difficulty', 'boundary', 'sas', 'random'):
    _fields = PLAIN | {'removal.method': _method, 'removal.ratio': 0.2}
    if _method != 'random':
        _fields['removal.scores'] = ScoresOf('full')
    CELLS[_method] = _fields
    CELLS[f'{_method}, equal updates'] = _fields | {'equal_updates': True}
