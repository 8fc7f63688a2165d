"""Table 3: a scaled temperature on every negative, and on difficult pairs alone."""

from launch.grids import PLAIN, treated

CELLS = {
    'baseline': PLAIN,
    'temperature, all': treated('all', temperature_scale=0.7),
    'temperature, difficult': treated(temperature_scale=0.7),
}
