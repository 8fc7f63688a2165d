"""Table 6: the treatments on long-tailed data."""

from launch.grids import PLAIN, treated

CELLS = {}
for _factor in (50.0, 10.0, 100.0):
    _tail = {'long_tail.factor': _factor}
    CELLS[f'baseline, {_factor:g}'] = _tail | PLAIN
    CELLS[f'combined, {_factor:g}'] = _tail | treated(margin=0.1, temperature_scale=0.7)
