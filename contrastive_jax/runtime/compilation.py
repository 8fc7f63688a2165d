"""Settings of XLA: the cache of compiled programs, determinism, and faster steps on CPUs.

All settings are made here. Environment variables of the user take precedence.
"""

import contextlib
import errno
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
from absl import logging

from contrastive_jax.errors import UserError

__all__ = [
    'keep_programs',
    'make_deterministic',
    'processor',
    'processor_kind',
    'refusals',
    'step_options',
]

# Excludes operations that add in any order, and kernels chosen by their measured time.
_DETERMINISTIC = '--xla_gpu_deterministic_ops=true'
# Element-wise chains and reductions in XLA's newer CPU library, and products, which XLA gives to it
# by itself as long as no types are named: docs/results/performance.md.
_FUSION = 'xla_cpu_experimental_ynn_fusion_type'
_FUSIONS = ','.join(
    f'LIBRARY_FUSION_TYPE_{name}' for name in ('ELTWISE', 'REDUCE', 'INDIVIDUAL_DOT')
)
# The option is experimental, and XLA refuses to compile if it does not know it. 0.11.2 and 0.12.0
# fuse the same parts of a step as 0.10.2 and give the same metrics; time was measured on 0.10.
_KNOWN_IN = ('0.10.', '0.11.', '0.12.')
_LINUX = sys.platform == 'linux'


def step_options() -> dict[str, str]:
    """Compiler options for a training step.

    Use them for the step alone: other linear algebra has layouts that these fusions refuse (JAX
    0.10). A fusion type in `XLA_FLAGS` takes precedence.
    """
    given = _FUSION in os.environ.get('XLA_FLAGS', '')
    known = jax.__version__.startswith(_KNOWN_IN) and jax.default_backend() == 'cpu'
    return {_FUSION: _FUSIONS} if known and not given else {}


def make_deterministic() -> None:
    """Makes programs for GPUs compute the same bits every time. Call it before JAX sees a device.

    Nothing changes on CPUs, where programs always do so.
    """
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_DETERMINISTIC}'.strip()


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Raises UserError if XLA has no deterministic program for an operation."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = ' '.join(str(error).split())
        if _DETERMINISTIC not in os.environ.get('XLA_FLAGS', '') or 'determinis' not in reason:
            raise
        raise UserError(f'--deterministic: XLA refuses ({reason}); leave this flag out') from error


def keep_programs() -> None:
    """Keeps compiled programs on disk for the next start. Call it before anything is compiled.

    The folder is `$XDG_CACHE_HOME/contrastive_jax/compiled`; the default of the variable is
    `~/.cache`. Set `JAX_COMPILATION_CACHE_DIR` for another folder, and
    `JAX_ENABLE_COMPILATION_CACHE=0` to disable this cache. If there is no home folder, or the
    folder cannot be written, a warning says so.
    """
    settings = jax.config.values
    if settings['jax_compilation_cache_dir'] or not settings['jax_enable_compilation_cache']:
        return
    try:
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    # Path.home raises RuntimeError for a user whom the system does not know.
    except (OSError, RuntimeError) as error:
        logging.warning('No cache, so programs are compiled at every start: %s', error)
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    # A run compiles many programs of half a second each.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


def processor() -> str:
    """The name of the processor."""
    return _of_processor('model name') or platform.processor() or platform.machine()


def processor_kind() -> str:
    """Eight hexadecimal digits for the instructions of the processor, which XLA compiles for.

    Processors with one name may differ in these: a virtual machine may hide some.
    """
    # `flags` on x86-64, `Features` on ARM.
    facts = [processor(), _of_processor('flags'), _of_processor('Features')]
    return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:8]


def _of_processor(name: str) -> str:
    """What the system says of the first processor; empty where it says nothing."""
    lines = Path('/proc/cpuinfo').read_text().splitlines() if _LINUX else []
    fields = (line.partition(':') for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip() == name), '')


def _cache_folder() -> Path:
    """The cache folder of this kind of processor.

    Raises:
      RuntimeError: the user has no home folder.
    """
    cache_home = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # The specification ignores paths that are not absolute, such as an unexpanded `~`.
    home = cache_home if cache_home.is_absolute() else Path.home() / '.cache'
    # Machines may share a home folder, and a program of one processor may fail on another.
    return home / 'contrastive_jax' / 'compiled' / processor_kind()
