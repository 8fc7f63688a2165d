"""Leaving out a fifth by the scores of System 2 and of System 1, or as many at random."""

from . import PLAIN, ScoresOf


def _without(method: str, **scores) -> dict:
    return PLAIN | {'removal.method': method, 'removal.ratio': 0.2} | scores


CELLS = {
    'full': PLAIN,
    'system 2': _without('file', **{'removal.scores': ScoresOf('full', by='verify')}),
    'difficulty': _without('difficulty', **{'removal.scores': ScoresOf('full')}),
    'boundary': _without('boundary', **{'removal.scores': ScoresOf('full')}),
    'random': _without('random'),
}
