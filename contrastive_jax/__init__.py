"""Difficulty-aware contrastive pre-training in JAX.

The Python way in: `load_encoder`, `difficulty`, `nt_xent`, `difficult_band`.
"""

import sys
from typing import TYPE_CHECKING

from contrastive_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from contrastive_jax.evaluation.scoring import difficulty
    from contrastive_jax.objectives import difficult_band, nt_xent
    from contrastive_jax.runs.encoder import load_encoder

__version__ = '0.1.0'

# Imported on first use, because JAX takes seconds to import and the config does not need it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        'difficult_band': 'contrastive_jax.objectives',
        'difficulty': 'contrastive_jax.evaluation.scoring',
        'load_encoder': 'contrastive_jax.runs.encoder',
        'nt_xent': 'contrastive_jax.objectives',
    },
)
__all__ = ['difficult_band', 'difficulty', 'load_encoder', 'nt_xent']

# While Python looks for the module of `python -m contrastive_jax.COMMAND`. Commands import for
# seconds, and Ctrl-C during that time must not end in a traceback either.
if sys.argv[:1] == ['-m']:
    from contrastive_jax.runtime.preemption import exit_when_told_to_stop

    exit_when_told_to_stop()
