"""Table 5: the treatments in MoCo, whose negatives are a queue."""

from launch.grids import PLAIN, treated

_MOCO = {'moco.queue_size': 4096}

CELLS = {
    'baseline': _MOCO | PLAIN,
    'margin': _MOCO | treated(margin=0.1),
    'temperature': _MOCO | treated(temperature_scale=0.7),
    'combined': _MOCO | treated(margin=0.1, temperature_scale=0.7),
}
