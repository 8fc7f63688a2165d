"""Table 1: difficult pairs removed from the loss."""

from launch.grids import PLAIN, treated

CELLS = {'baseline': PLAIN, 'removed': treated(remove=True)}
