"""Table 1: difficult pairs removed from the loss."""

from . import PLAIN

CELLS = {'baseline': PLAIN, 'removed': {'arm': 'removal'}}
