"""The file `training_set.npz` of a workdir: which images the run trains on."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from contrastive_jax.data.constructions import Construction
from contrastive_jax.data.stored import checksum
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import HOST_STREAMS, STREAMS
from contrastive_jax.runs.images import (
    measure_image_facts,
    read_image_facts,
    write_image_facts,
)
from contrastive_jax.runs.names import CONFIG, IMAGES, TRAINING_SET
from contrastive_jax.runs.workdir import has_checkpoint, unwritable
from contrastive_jax.runtime.files import read_arrays, write_sealed_json, write_whole

__all__ = ['check_images', 'claim_workdir']

_CHOSEN = ('kept', 'mixed', 'partners')
# The edition of the random streams of a run whose file was lost.
_UNKNOWN = 0


def claim_workdir(
    workdir: Path, config: ConfigDict, construction: Construction, *, held_out: bool = False
) -> None:
    """Writes the config and the training set of a new run, or checks those of a resumed run.

    `training_set.npz` holds the indices kept, those mixed and their partners, and the edition of
    the random streams (`randomness.STREAMS`). `images.json` holds what the encoder must know of the
    images.

    Args:
      workdir: folder of the run.
      config: the whole config.
      construction: what the run trains on.
      held_out: whether the test images were drawn from the training images.

    Raises:
      UserError: the folder cannot be written; other images are left out, mixed or held out than
        before.
    """
    path = workdir / TRAINING_SET
    edition = STREAMS
    if (workdir / CONFIG).exists():
        edition = check_images(workdir, construction, held_out=held_out)
        if edition != STREAMS:
            logging.warning(
                '%s: was begun by a version that draws batches or views otherwise; the steps from '
                'here on are those of this version, so the encoder will not be the one that either '
                'version alone trains',
                workdir,
            )
        if path.exists():
            if not (workdir / IMAGES).exists():
                write_image_facts(workdir, measure_image_facts(construction))
            return
    chosen = {name: getattr(construction, name) for name in _CHOSEN}
    # Images that cannot be read are found before anything is written.
    facts = measure_image_facts(construction) if not (workdir / IMAGES).exists() else None
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not (workdir / CONFIG).exists():
            write_sealed_json(workdir / CONFIG, config.to_dict())
        write_whole(path, lambda file: np.savez(file, streams=edition, **chosen))
        if facts is not None:
            write_image_facts(workdir, facts)
    except OSError as error:
        raise unwritable(workdir, error) from error


def check_images(workdir: Path, construction: Construction, *, held_out: bool = False) -> int:
    """Checks that a run still has the training images that it was started with.

    Args:
      workdir: folder of the run.
      construction: what the run trains on, by this version.
      held_out: whether the test images were drawn from the training images.

    Returns:
      The edition of the random streams of the run: `_UNKNOWN` if no file has it.

    Raises:
      UserError: the images are others, or others are left out or mixed than before; images that
        the run may have trained on are held out for tests.
    """
    before = _training_set(workdir)
    streams = _edition(workdir, before)
    kept = read_image_facts(workdir)
    if kept is not None and kept.checksum != checksum(construction.whole.images):
        raise UserError(
            f'--workdir={workdir}: was begun with other images (their checksum is another); give '
            'the same images, or choose another folder'
        )
    if held_out and not _drew_the_same_images(streams):
        version = f'a version of edition {streams}' if streams != _UNKNOWN else 'an unknown version'
        raise UserError(
            f'--workdir={workdir}: was begun by {version}, which may have held out other '
            'images for tests: this version would test on images that the run trained on. Go on '
            'with that version, or put the test images into test/ and train again in another folder'
        )
    if before is None:
        return streams
    changed = [
        name
        for name in _CHOSEN
        if name not in before or not np.array_equal(before[name], getattr(construction, name))
    ]
    if not changed:
        return streams
    differ = f'was begun with other images ({", ".join(changed)} differ)'
    if not _drew_the_same_images(streams) and before.keys() >= set(_CHOSEN):
        raise UserError(
            f'--workdir={workdir}: {differ}: the version that began it draws them otherwise; go '
            'on with that version, or choose another folder'
        )
    raise UserError(
        f'--workdir={workdir}: {differ}; has config.removal.scores been written anew? Choose '
        'another folder'
    )


def _training_set(workdir: Path) -> dict[str, np.ndarray] | None:
    """The arrays of `training_set.npz`; None without that file."""
    path = workdir / TRAINING_SET
    if not path.exists():
        return None
    try:
        before = read_arrays(path)
    except UserError as error:
        raise UserError(
            f'{error}; restore it from a copy. Without a copy, delete it, and it is made again. '
            'Then the version that began the run is unknown, and a run whose test images were '
            'drawn from its training images is refused'
        ) from error
    return before if isinstance(before, dict) else {}


def _edition(workdir: Path, before: Mapping[str, np.ndarray] | None) -> int:
    """The edition of the random streams of a run, by its `training_set.npz`."""
    if before is not None:
        return int(before.get('streams', 1))
    # A run that was stopped before it wrote the file has no checkpoint either.
    return _UNKNOWN if has_checkpoint(workdir) else STREAMS


def _drew_the_same_images(streams: int) -> bool:
    """Whether this version holds out, leaves out and mixes the images that that edition did."""
    return HOST_STREAMS <= streams <= STREAMS
