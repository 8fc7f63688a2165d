"""Table 4: margin and temperature together, beside each of them alone and removal."""

from . import PLAIN

CELLS = {
    'baseline': PLAIN,
    **{arm: {'arm': arm} for arm in ('removal', 'margin', 'temperature', 'combined')},
}
