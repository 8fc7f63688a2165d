"""Table 3: a scaled temperature on every negative, and on difficult pairs alone."""

from . import PLAIN

CELLS = {
    'baseline': PLAIN,
    'temperature, all': {'arm': 'temperature_all'},
    'temperature, difficult': {'arm': 'temperature'},
}
