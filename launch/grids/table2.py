"""Table 2: a margin on every negative, and on difficult pairs alone."""

from launch.grids import PLAIN, treated

CELLS = {
    'baseline': PLAIN,
    'margin, all': treated('all', margin=0.1),
    'margin, difficult': treated(margin=0.1),
}
