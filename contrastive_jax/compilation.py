"""How XLA compiles: programs kept on disk, and what makes a training step faster on CPUs.

Here and nowhere else; each is left alone where the environment says something of its own.
"""

import hashlib
import os
from pathlib import Path

import jax
from absl import logging

from contrastive_jax.provenance import processor

__all__ = ['keep_programs', 'step_options']

# Element-wise chains and reductions in XLA's newer CPU library: docs/results/performance.md.
_FUSION = 'xla_cpu_experimental_ynn_fusion_type'
_FUSIONS = 'LIBRARY_FUSION_TYPE_ELTWISE,LIBRARY_FUSION_TYPE_REDUCE'
# It is experimental: a version may not know it, and then refuses to compile. 0.11.2 and 0.12.0 fuse
# the same parts of a step as 0.10.2, and its metrics are the same; the time was measured on 0.10.
_KNOWN_IN = ('0.10.', '0.11.', '0.12.')


def step_options() -> dict[str, str]:
    """Options of the compiler for a training step.

    For the step alone: linear algebra elsewhere has layouts that these fusions refuse (JAX 0.10).
    `XLA_FLAGS` with a fusion type of its own goes first.
    """
    given = _FUSION in os.environ.get('XLA_FLAGS', '')
    known = jax.__version__.startswith(_KNOWN_IN) and jax.default_backend() == 'cpu'
    return {_FUSION: _FUSIONS} if known and not given else {}


def keep_programs() -> None:
    """Has compiled programs kept on disk, for the next start; before anything is compiled.

    In `$XDG_CACHE_HOME/contrastive_jax/compiled`, `~/.cache` for the first where it is not set.
    `JAX_COMPILATION_CACHE_DIR` names another folder, `JAX_ENABLE_COMPILATION_CACHE=0` goes without.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
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
