"""Difficulty-aware contrastive pre-training in JAX."""

import importlib
import sys

__version__ = '0.1.0'

# Public names and the modules that hold them, imported at first use: commands start fast.
_PUBLIC = {'difficulty': 'contrastive_jax.evaluation.difficulty'}

# While Python looks for the module of `python -m contrastive_jax.COMMAND`. Commands import for
# seconds, and Ctrl-C during that time must not end in a traceback either.
if sys.argv[:1] == ['-m']:
    from contrastive_jax.runtime.preemption import end_when_told

    end_when_told()


def __getattr__(name: str):
    """Imports a public name at its first use (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_PUBLIC[name]), name)
