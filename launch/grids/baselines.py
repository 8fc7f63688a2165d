"""Beside other objectives: HCL, debiased, decoupled (DCL), spectral, and SupCon with labels."""

from . import PLAIN

CELLS = {
    'baseline': PLAIN,
    'combined': {'arm': 'combined'},
    **{
        name: PLAIN | {'loss.name': name}
        for name in ('hard_negative', 'debiased', 'decoupled', 'spectral', 'supervised')
    },
}
