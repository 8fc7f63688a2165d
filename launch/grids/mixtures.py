"""A tenth of the images mixed with one of another class: plain, and with the contrast kept."""

from . import PLAIN

CELLS = {
    'plain': PLAIN | {'mixed.ratio': 0.1},
    'matched': PLAIN | {'mixed.ratio': 0.1, 'mixed.match_contrast': True},
}
