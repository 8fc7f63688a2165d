"""Fig. 2 at 20 %, with the contrast of the images kept, and with equal epochs or equal updates.

Images that are left out leave fewer updates an epoch.
"""

from . import PLAIN

_MIXED = PLAIN | {'mixed.ratio': 0.2}

CELLS = {
    'original': PLAIN,
    'mixed': _MIXED,
    'mixed, contrast kept': _MIXED | {'mixed.match_contrast': True},
    'dropped': _MIXED | {'mixed.drop': True},
    'dropped, equal updates': _MIXED | {'mixed.drop': True, 'equal_updates': True},
}
