"""What Tables 2 to 4 fix: the margin sigma and the factor rho, one at a time and together.

Choose among the cells by validation accuracy, and never by the test accuracies that are reported:
    python -m contrastive_jax.report --select RUNS/search.txt --out=search
"""

from . import PLAIN, Fields

_MARGINS, _FACTORS = (0.05, 0.1, 0.2, 0.3, 0.5), (0.5, 0.6, 0.7, 0.8, 0.9)

CELLS: dict[str, Fields] = {'baseline': PLAIN}
for _factor in _FACTORS:
    CELLS[f'rho {_factor}'] = {'arm': 'temperature', 'pairs.temperature_scale': _factor}
for _margin in _MARGINS:
    CELLS[f'sigma {_margin}'] = {'arm': 'margin', 'pairs.margin': _margin}
    for _factor in _FACTORS:
        CELLS[f'sigma {_margin}, rho {_factor}'] = {
            'arm': 'combined',
            'pairs.margin': _margin,
            'pairs.temperature_scale': _factor,
        }
