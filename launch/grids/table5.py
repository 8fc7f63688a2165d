"""Table 5: the treatments in MoCo, whose negatives are a queue."""

from . import PLAIN

_MOCO = {'moco.queue_size': 4096}

CELLS = {
    'baseline': _MOCO | PLAIN,
    **{arm: _MOCO | {'arm': arm} for arm in ('margin', 'temperature', 'combined')},
}
