"""How many images a step: a larger batch brings more difficult pairs, and more of every kind."""

from launch.grids import PLAIN, treated

CELLS = {}
for _size in (256, 64, 128, 512, 1024):
    CELLS[f'baseline, {_size}'] = PLAIN | {'batch_size': _size}
    CELLS[f'combined, {_size}'] = treated(margin=0.1, temperature_scale=0.7) | {'batch_size': _size}
