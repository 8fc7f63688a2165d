"""Beside Theorem 4.5: the factor rho of the temperature of difficult pairs."""

from . import PLAIN, Fields

CELLS: dict[str, Fields] = {'baseline': PLAIN}
for _rho in (0.5, 0.6, 0.7, 0.8, 0.9, 1.1):
    CELLS[f'rho {_rho}'] = {'arm': 'temperature', 'pairs.temperature_scale': _rho}
