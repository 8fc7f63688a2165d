"""What produced a result: versions, device, commit."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

__all__ = ['git_commit', 'versions']

_PACKAGES = ('contrastive_jax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def versions() -> dict[str, str]:
    """Versions of Python and of what computes, and the kind of device."""
    found = {name: metadata.version(name) for name in _PACKAGES}
    device = jax.devices()[0].device_kind
    return {'python': platform.python_version(), **found, 'device': device}


def git_commit() -> str | None:
    """Commit of the checkout that runs, `-dirty` if it has changes; None outside a checkout."""
    command = ['git', 'describe', '--always', '--abbrev=40', '--dirty', '--match=']
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
