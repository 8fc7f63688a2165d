"""What produced a result: versions, device, platform and commit."""

import functools
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

from contrastive_jax import __version__
from contrastive_jax.runtime.compilation import processor
from contrastive_jax.runtime.cores import usable_cores

__all__ = ['git_commit', 'platform_flags', 'versions']

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
_PACKAGE = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute, and the kind of device."""
    packages = {name: metadata.version(name) for name in _PACKAGES}
    return {
        'python': platform.python_version(),
        # A checkout that is only on the path of Python has no metadata.
        'contrastive_jax': __version__,
        **packages,
        'device': jax.devices()[0].device_kind,
    }


def platform_flags() -> dict[str, object]:
    """What else affects the last bits: backend, devices, processor, cores, flags of JAX and XLA."""
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
        'cores': usable_cores(),
        'environment': flags,
    }


@functools.cache
def git_commit() -> str | None:
    """Commit of the running checkout, with `-dirty` if it has changes; None if it is not known.

    A process reads it once, since somebody may commit or edit while a run trains.
    """
    try:
        # An installed package may lie in a folder of somebody else's repository.
        _git('ls-files', '--error-unmatch', 'COMMIT')
        return _git('describe', '--always', '--abbrev=40', '--dirty', '--match=')
    except (OSError, subprocess.CalledProcessError):
        file = _PACKAGE / 'COMMIT'
        if not file.exists():  # a copy of the modules alone
            return None
        # `git archive` replaces the placeholder in this file by its commit.
        archived = file.read_text(encoding='ascii').strip()
        return _installed_from() if archived.startswith('$') else archived


def _installed_from() -> str | None:
    """The commit that pip has installed, where it was given a repository."""
    try:
        installed = metadata.distribution('contrastive_jax')
        origin = json.loads(installed.read_text('direct_url.json') or '{}')
    except (metadata.PackageNotFoundError, ValueError):
        return None
    # Another copy may come first on the path of Python.
    if Path(str(installed.locate_file(_PACKAGE.name))).resolve() != _PACKAGE.resolve():
        return None
    return origin.get('vcs_info', {}).get('commit_id')


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ['git', *arguments], cwd=_PACKAGE, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
