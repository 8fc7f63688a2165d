"""How many images a step: a larger batch brings more difficult pairs, and more of every kind."""

CELLS = {}
for _size in (256, 64, 128, 512, 1024):
    CELLS[f'baseline, {_size}'] = {'arm': 'simclr', 'batch_size': _size}
    CELLS[f'combined, {_size}'] = {'arm': 'combined', 'batch_size': _size}
