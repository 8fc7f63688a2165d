"""How XLA compiles: programs kept on disk, and what makes a training step faster on CPUs.

Here and nowhere else; each is left alone where the environment says something of its own.
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

__all__ = ['keep_programs', 'make_deterministic', 'processor', 'refusals', 'step_options']

# Excludes operations that add in any order, and the choice of programs by their measured time.
_DETERMINISTIC = '--xla_gpu_deterministic_ops=true'
# Element-wise chains and reductions in XLA's newer CPU library: docs/results/performance.md.
_FUSION = 'xla_cpu_experimental_ynn_fusion_type'
_FUSIONS = 'LIBRARY_FUSION_TYPE_ELTWISE,LIBRARY_FUSION_TYPE_REDUCE'
# It is experimental: a version may not know it, and then refuses to compile. 0.11.2 and 0.12.0 fuse
# the same parts of a step as 0.10.2, and its metrics are the same; the time was measured on 0.10.
_KNOWN_IN = ('0.10.', '0.11.', '0.12.')
_LINUX = sys.platform == 'linux'


def step_options() -> dict[str, str]:
    """Options of the compiler for a training step.

    For the step alone: linear algebra elsewhere has layouts that these fusions refuse (JAX 0.10).
    `XLA_FLAGS` with a fusion type of its own goes first.
    """
    given = _FUSION in os.environ.get('XLA_FLAGS', '')
    known = jax.__version__.startswith(_KNOWN_IN) and jax.default_backend() == 'cpu'
    return {_FUSION: _FUSIONS} if known and not given else {}


def make_deterministic() -> None:
    """Makes programs for GPUs compute the same bits every time; before JAX sees any device.

    On CPUs, whose programs do so anyway, nothing changes.
    """
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_DETERMINISTIC}'.strip()


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Raises UserError where XLA has no deterministic program for an operation."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = ' '.join(str(error).split())
        if _DETERMINISTIC not in os.environ.get('XLA_FLAGS', '') or 'determinis' not in reason:
            raise
        raise UserError(f'--deterministic: XLA refuses ({reason}); leave this flag out') from error


def keep_programs() -> None:
    """Has compiled programs kept on disk, for the next start; before anything is compiled.

    In `$XDG_CACHE_HOME/contrastive_jax/compiled`, `~/.cache` for the first where it is not set.
    `JAX_COMPILATION_CACHE_DIR` names another folder, `JAX_ENABLE_COMPILATION_CACHE=0` goes without.
    Where there is no home or the folder cannot be written, a warning says so.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    try:
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    # RuntimeError: a user without a home folder, whom the system does not know.
    except (OSError, RuntimeError) as error:
        logging.warning('No cache, so programs are compiled at every start: %s', error)
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    # A run has many programs of half a second.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


def processor() -> str:
    """The name of the processor: XLA compiles for its instructions, and divides by its cores."""
    lines = Path('/proc/cpuinfo').read_text().splitlines() if _LINUX else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def _cache_folder() -> Path:
    """The folder of this kind of processor.

    Raises:
      RuntimeError: the user has no home folder.
    """
    given = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # Its specification ignores paths that are not absolute, such as a `~` that nobody expanded.
    home = given if given.is_absolute() else Path.home() / '.cache'
    # A home shared by machines: a program compiled for one processor may not run on another.
    kind = hashlib.sha256(processor().encode()).hexdigest()[:8]
    return home / 'contrastive_jax' / 'compiled' / kind
