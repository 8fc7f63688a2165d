"""Probes of baselines that the runs of a grid share, kept in files.

Raw pixels, and the untrained encoder of a seed, are the same in every cell of a grid.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from contrastive_jax.evaluation.probing import Accuracies
from contrastive_jax.runs.provenance import platform_flags, versions
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import read_json, write_json

__all__ = ['shared_probe']

_PACKAGE = Path(__file__).parents[1]


def shared_probe(
    folder: Path | None, inputs: Sequence[object], measure: Callable[[], Accuracies | None]
) -> Accuracies | None:
    """Reads accuracies that another run has measured, or measures and writes them.

    The name of the file is a hash of `inputs`, of the source of this package, of the versions of
    what it uses, and of the devices. So other code never reads it. Of runs that come here together
    one measures, and the others wait for it.

    Args:
      folder: folder of the files; None to measure and write nothing. A run with several processes
        measures too, because all of them must do the same.
      inputs: everything that the accuracies depend on: arrays, and what JSON can hold.
      measure: measures the accuracies, which have no `validation`; None if that is not possible
        here, which is not kept.

    Returns:
      The accuracies; None if `measure` returns None.
    """
    if folder is None or jax.process_count() > 1:
        return measure()
    path = folder / f'{_key(inputs)}.json'
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix('.lock')):
            # Another run may have measured it in the meantime.
            if not path.exists():
                accuracies = measure()
                if accuracies is not None:
                    write_json(path, accuracies._asdict())
                return accuracies
    progress.say(f'  as measured before, {path}')
    content = read_json(path)
    return Accuracies(**{**content, 'by_class': tuple(content['by_class'])})


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process is in this context with the same lock file."""
    with contextlib.ExitStack() as stack:
        # Some network file systems have no locks, and the file may be one that somebody else's run
        # has left: then each run measures.
        with contextlib.suppress(OSError):
            file = stack.enter_context(path.open('w'))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say('  waits for another run, which is measuring it')
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
        with contextlib.suppress(OSError):
            path.unlink()


@functools.cache
def _sources(package: Path) -> str:
    """Checksum of the code of a package."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob('*.py')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Read when it is imported, since somebody may edit it while a run trains.
_sources(_PACKAGE)


def _key(inputs: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for part in (*inputs, _sources(_PACKAGE), platform_flags(), versions()):
        if isinstance(part, np.ndarray | jax.Array):
            array = np.ascontiguousarray(part)
            digest.update(f'{array.dtype} {array.shape}'.encode())
            digest.update(array.data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:16]
