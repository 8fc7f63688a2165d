"""What produced a result: versions, device, commit, data."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

__all__ = ['array_checksum', 'git_commit', 'platform_flags', 'processor', 'versions']

_PACKAGES = ('contrastive_jax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
_PACKAGE = Path(__file__).parents[1]
_LINUX = sys.platform == 'linux'


def versions() -> dict[str, str]:
    """Versions of Python and of what computes, and the kind of device."""
    found = {name: metadata.version(name) for name in _PACKAGES}
    device = jax.devices()[0].device_kind
    return {'python': platform.python_version(), **found, 'device': device}


def platform_flags() -> dict[str, object]:
    """What else decides the last bits: backend, devices, processor, cores, flags of JAX and XLA."""
    flags = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(('JAX_', 'XLA_', 'LIBTPU_'))
    }
    return {
        'backend': jax.default_backend(),
        'devices': jax.device_count(),
        'processes': jax.process_count(),
        'processor': processor(),
        'cores': len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count(),
        'environment': flags,
    }


def processor() -> str:
    """The name of the processor: XLA compiles for its instructions, and divides by its cores."""
    lines = Path('/proc/cpuinfo').read_text().splitlines() if _LINUX else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Commit of the checkout that runs, `-dirty` if it has changes; None where it is not known."""
    command = ['git', 'describe', '--always', '--abbrev=40', '--dirty', '--match=']
    try:
        done = subprocess.run(command, cwd=_PACKAGE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        # `git archive` writes its commit into this file.
        archived = (_PACKAGE / 'COMMIT').read_text().strip()
        return None if archived.startswith('$') else archived
    return done.stdout.strip()


def array_checksum(array: np.ndarray) -> str:
    """SHA-256 of type, shape and content, as 64 hexadecimal digits."""
    digest = hashlib.sha256(f'{array.dtype.str} {array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
