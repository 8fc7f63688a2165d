"""Beside other objectives: HCL, debiased, decoupled (DCL), spectral, and SupCon with labels."""

from launch.grids import PLAIN, treated

CELLS = {
    'baseline': PLAIN,
    'combined': treated(margin=0.1, temperature_scale=0.7),
    **{
        name: PLAIN | {'loss.name': name}
        for name in ('hard_negative', 'debiased', 'decoupled', 'spectral', 'supervised')
    },
}
