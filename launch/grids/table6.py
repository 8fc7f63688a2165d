"""Table 6: the treatments on long-tailed data."""

CELLS = {}
for _factor in (50.0, 10.0, 100.0):
    CELLS[f'baseline, {_factor:g}'] = {'arm': 'simclr', 'long_tail.factor': _factor}
    CELLS[f'combined, {_factor:g}'] = {'arm': 'combined', 'long_tail.factor': _factor}
