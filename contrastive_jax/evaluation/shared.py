"""Probes of baselines that the runs of a grid share, kept in files.

Raw pixels, and the untrained encoder of a seed, are the same in every cell of a grid.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
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
    folder: Path | None, inputs: Sequence[object], measure: Callable[[], Accuracies]
) -> Accuracies:
    """Reads accuracies that another run has measured, or measures and writes them.

    The name of the file is a hash of `inputs`, of the source of this package, of the versions of
    what it uses, and of the devices. So other code never reads it.

    Args:
      folder: folder of the files; None to measure and write nothing. A run with several processes
        measures too, because all of them must do the same.
      inputs: everything that the accuracies depend on: arrays, and what JSON can hold.
      measure: measures the accuracies; they have no `validation`.
    """
    if folder is None or jax.process_count() > 1:
        return measure()
    path = folder / f'{_key(inputs)}.json'
    if path.exists():
        progress.say(f'  as measured before, {path}')
        content = read_json(path)
        return Accuracies(**{**content, 'by_class': tuple(content['by_class'])})
    accuracies = measure()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, accuracies._asdict())
    return accuracies


def _key(inputs: Sequence[object]) -> str:
    digest = hashlib.sha256()
    sources = [path.read_text() for path in sorted(_PACKAGE.rglob('*.py'))]
    for part in (*inputs, sources, platform_flags(), versions()):
        if isinstance(part, np.ndarray | jax.Array):
            array = np.ascontiguousarray(part)
            digest.update(f'{array.dtype} {array.shape}'.encode())
            digest.update(array.data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:16]
