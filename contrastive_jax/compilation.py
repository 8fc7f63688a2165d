"""How XLA compiles for a command: programs kept on disk, and flags that make CPUs faster.

Here and nowhere else; each is left alone where the environment says something of its own.
"""

import hashlib
import os
from pathlib import Path

import jax
from absl import logging

from contrastive_jax.provenance import processor

__all__ = ['prepare']

# Element-wise chains and reductions in XLA's newer CPU library: docs/results/performance.md.
_FUSION = '--xla_cpu_experimental_ynn_fusion_type'
_FUSIONS = 'LIBRARY_FUSION_TYPE_ELTWISE,LIBRARY_FUSION_TYPE_REDUCE'
# XLA ends a process that gives it a flag it does not know, and this one is experimental.
_KNOWN_IN = ('0.10.',)


def prepare() -> None:
    """Sets flags and the cache of compiled programs; before anything asks JAX for its devices.

    - `XLA_FLAGS` with a fusion type of its own is left as it is.
    - `JAX_COMPILATION_CACHE_DIR` names another folder than
      `$XDG_CACHE_HOME/contrastive_jax/compiled` (`~/.cache` for the first where it is not set), and
      `JAX_ENABLE_COMPILATION_CACHE=0` goes without.
    """
    given = os.environ.get('XLA_FLAGS', '')
    if _FUSION not in given and jax.__version__.startswith(_KNOWN_IN):
        os.environ['XLA_FLAGS'] = f'{given} {_FUSION}={_FUSIONS}'.strip()
    if not jax.config.jax_compilation_cache_dir and jax.config.jax_enable_compilation_cache:
        _keep_programs()


def _keep_programs() -> None:
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    # A home shared by machines: a program compiled for one processor may not run on another.
    kind = hashlib.sha256(processor().encode()).hexdigest()[:8]
    folder = Path(home) / 'contrastive_jax' / 'compiled' / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.warning('Programs are compiled anew every time: %s: %s', folder, error.strerror)
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    # A run has many programs of half a second.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
