"""Difficulty-aware contrastive pre-training in JAX."""

import sys

__version__ = '0.1.0'

# While Python looks for the module of `python -m contrastive_jax.COMMAND`. Commands import for
# seconds, and Ctrl-C during that time must not end in a traceback either.
if sys.argv[:1] == ['-m']:
    from contrastive_jax.runtime.preemption import end_when_told

    end_when_told()
