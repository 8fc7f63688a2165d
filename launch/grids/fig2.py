"""Fig. 2: a share of the images mixed with one of another class, and the same ones left out."""

from . import PLAIN

CELLS = {
    'original': PLAIN,
    'mixed 10 %': PLAIN | {'mixed.ratio': 0.1},
    'dropped 10 %': PLAIN | {'mixed.ratio': 0.1, 'mixed.drop': True},
    'mixed 20 %': PLAIN | {'mixed.ratio': 0.2},
    'dropped 20 %': PLAIN | {'mixed.ratio': 0.2, 'mixed.drop': True},
}
