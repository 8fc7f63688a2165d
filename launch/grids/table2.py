"""Table 2: a margin on every negative, and on difficult pairs alone."""

from . import PLAIN

CELLS = {
    'baseline': PLAIN,
    'margin, all': {'arm': 'margin_all'},
    'margin, difficult': {'arm': 'margin'},
}
