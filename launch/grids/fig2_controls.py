"""Fig. 2 at 20 %, with the contrast of the images kept, and with equal epochs or equal updates.

Images that are left out leave fewer updates an epoch. `_UPDATES` are those that eight epochs of all
images of CIFAR-10 take, in batches of 256.
"""

from . import PLAIN

_UPDATES = 1560
_MIXED = PLAIN | {'mixed.ratio': 0.2}

CELLS = {
    'original': PLAIN,
    'mixed': _MIXED,
    'mixed, contrast kept': _MIXED | {'mixed.match_contrast': True},
    'dropped': _MIXED | {'mixed.drop': True},
    'dropped, equal updates': _MIXED | {'mixed.drop': True, 'steps': _UPDATES},
}
