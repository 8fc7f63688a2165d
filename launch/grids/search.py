"""What Tables 2 to 4 fix: the margin sigma and the factor rho, one at a time and together."""

from launch.grids import PLAIN, treated

_MARGINS, _FACTORS = (0.05, 0.1, 0.2, 0.3, 0.5), (0.5, 0.6, 0.7, 0.8, 0.9)

CELLS = {'baseline': PLAIN}
for _margin in (0.0, *_MARGINS):
    for _factor in (1.0, *_FACTORS):
        if _margin or _factor != 1:
            CELLS[f'sigma {_margin}, rho {_factor}'] = treated(
                margin=_margin, temperature_scale=_factor
            )
