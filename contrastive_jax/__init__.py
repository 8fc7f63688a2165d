"""Difficulty-aware contrastive pre-training in JAX.

The Python way in: `load_encoder`, `difficulty`, `nt_xent`, `difficult_band`.
"""

import importlib
import sys

__version__ = '0.1.0'

# Public names and the module of each. It is imported when a name is first asked for, since JAX
# takes seconds and the config has no need of it.
_HOMES = {
    'difficult_band': 'contrastive_jax.objectives',
    'difficulty': 'contrastive_jax.evaluation.scoring',
    'load_encoder': 'contrastive_jax.runs.encoder',
    'nt_xent': 'contrastive_jax.objectives',
}

__all__ = ['difficult_band', 'difficulty', 'load_encoder', 'nt_xent']

# While Python looks for the module of `python -m contrastive_jax.COMMAND`. Commands import for
# seconds, and Ctrl-C during that time must not end in a traceback either.
if sys.argv[:1] == ['-m']:
    from contrastive_jax.runtime.preemption import end_when_told

    end_when_told()


def __getattr__(name: str):
    """Imports what a public name stands for, and keeps it."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Names that are there already, and the public ones."""
    return sorted({*globals(), *__all__})
