"""Table 4: margin and temperature together, beside each of them alone and removal."""

from launch.grids import PLAIN, treated

CELLS = {
    'baseline': PLAIN,
    'removal': treated(remove=True),
    'margin': treated(margin=0.1),
    'temperature': treated(temperature_scale=0.7),
    'combined': treated(margin=0.1, temperature_scale=0.7),
}
