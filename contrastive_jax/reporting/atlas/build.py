"""Gathers what an atlas shows, from a scored run or from files.

Axes: n samples, m of them on the page, k features.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from contrastive_jax.data.file_tree import walk
from contrastive_jax.data.score_files import ScoreFile, read_scores
from contrastive_jax.data.stored import subset
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import Options, Samples, from_files, from_run, score
from contrastive_jax.graph.difficulty import sample_difficulty
from contrastive_jax.graph.nearest import Neighbours, neighbours
from contrastive_jax.graph.verdicts import NEIGHBOURS, VERDICTS, verdicts
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.reporting.atlas.content import Content, Dynamics, chosen_rows, project
from contrastive_jax.reporting.atlas.sprites import SIDE
from contrastive_jax.runs.dynamics import DYNAMICS, read_dynamics
from contrastive_jax.runs.workdir import check_outside_data_of
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import read_arrays

__all__ = ['Files', 'of_files', 'of_run']

# Neighbours that the page shows.
_SHOWN = 8
_BANDS = ('alpha', 'beta', 'gamma')


class Files(NamedTuple):
    """Files about samples of any encoder; all but the features may be None.

    Attributes:
      features: file of features, `[n, k]`.
      labels: npy file, `[n]` integers.
      images: npy or npz file of one array `[n, h, w, c]` uint8, or a folder of n image files, which
        belong to the rows in the order of their names.
      scores: scores that `contrastive_jax.score` wrote.
    """

    features: str
    labels: str | None
    images: str | None
    scores: str | None


def of_run(workdir: Path, out: Path, map_name: str, most: int) -> Content:
    """The samples of a run, with the scores in its folder.

    Raises:
      UserError: a run that is not trained or not scored.
    """
    scores = workdir / 'scores.npz'
    if not scores.exists():
        raise UserError(
            f'--workdir={workdir}: holds no scores.npz; first run '
            f'python -m contrastive_jax.score --workdir={workdir}'
        )
    check_outside_data_of([workdir], out)
    samples, options = from_run(workdir, everything=True)
    n = len(samples.features)
    file = read_scores(str(scores), n=n, checksum=samples.image_checksum(), where='scores')
    samples, columns = _scored(samples, file)
    return _content(samples, options, columns, _dynamics(workdir, samples), map_name, most)


def of_files(files: Files, map_name: str, most: int) -> Content:
    """Samples with features of any encoder.

    Raises:
      UserError: files that cannot be read or do not fit together.
    """
    samples, options = from_files(files.features, files.labels)
    n = len(samples.features)
    if files.images is not None:
        # Scores of features have the checksum of the features, whatever the images are.
        samples = samples._replace(checksum=samples.image_checksum())
        samples = _with_images(samples, Path(files.images))
    if files.scores is None:
        columns = score(samples, options)
    else:
        checksum = samples.image_checksum()
        file = read_scores(files.scores, n=n, checksum=checksum, where='--scores')
        samples, columns = _scored(samples, file)
    return _content(samples, options, columns, None, map_name, most)


def _scored(samples: Samples, file: ScoreFile) -> tuple[Samples, dict[str, np.ndarray]]:
    """The samples that a file scores, in its order, and their columns."""
    rows = file.index
    if rows is None:
        return samples, file.columns
    index = rows if samples.index is None else samples.index[rows]
    taken = samples._replace(
        features=samples.features[rows],
        labels=None if samples.labels is None else samples.labels[rows],
        images=None if samples.images is None else subset(samples.images, rows),
        files=None if samples.files is None else tuple(samples.files[row] for row in rows),
        index=index,
    )
    return taken, file.columns


def _content(
    samples: Samples,
    options: Options,
    columns: dict[str, np.ndarray],
    dynamics: Dynamics | None,
    map_name: str,
    most: int,
) -> Content:
    n = len(samples.features)
    rows = chosen_rows(columns['score'], most, host_rng(Use.ATLAS_SAMPLE, samples.seed))
    notes = []
    if len(rows) < n:
        notes.append(
            f'{len(rows)} of {n} samples are here: the hardest, the easiest and a random part. '
            'Neighbours are those among them.'
        )
    features = np.asarray(samples.features)[rows]
    labels = None if samples.labels is None else samples.labels[rows]
    near = _neighbours(features, options)
    columns = _complete({name: values[rows] for name, values in columns.items()}, features, options)
    found = verdicts(columns['score'], columns['isolation'], near.similarity, near.nearest, labels)
    if labels is None:
        notes.append('There are no labels, so no label is suspected and no class is shown.')
    if samples.images is None:
        notes.append('There are no images, so samples are shown by their index.')
    index = rows if samples.index is None else np.asarray(samples.index)[rows]
    progress.say('map')
    place, how = project(features, map_name, samples.seed)
    return Content(
        title=samples.source,
        index=index,
        place=place,
        map_name=how,
        score=columns['score'],
        isolation=columns['isolation'],
        bands={name: columns[name] for name in _BANDS},
        verdict=tuple(VERDICTS[code] for code in found.verdict),
        evidence={
            'nearest cosine': near.similarity,
            'duplicate z': found.duplicate_z,
            'outlier z': found.outlier_z,
            'label margin': found.label_margin,
        },
        nearest=near.nearest[:, :_SHOWN],
        partners=near.partners[:, :_SHOWN],
        labels=None if labels is None else tuple(samples.classes[label] for label in labels),
        files=None if samples.files is None else tuple(samples.files[row] for row in rows),
        images=None if samples.images is None else samples.images[rows],
        dynamics=dynamics and dynamics._replace(scores=dynamics.scores[rows]),
        notes=tuple(notes),
    )


def _neighbours(features: np.ndarray, options: Options) -> Neighbours:
    if len(features) < 2:
        nobody = np.full((len(features), 1), -1)
        return Neighbours(nobody, np.zeros(len(features)), nobody)
    return neighbours(
        features, pos_high=options.pos_high, pos_low=options.pos_low, count=NEIGHBOURS
    )


def _complete(
    columns: dict[str, np.ndarray], features: np.ndarray, options: Options
) -> dict[str, np.ndarray]:
    """Adds what scores of an earlier version, or of some columns alone, do not hold."""
    if not {*_BANDS, 'isolation'} <= columns.keys():
        from contrastive_jax.graph.density import isolation

        high, low = options.pos_high, options.pos_low
        known = sample_difficulty(features, pos_high=high, pos_low=low)._asdict()
        known['isolation'] = isolation(features)
        columns = {name: np.asarray(values) for name, values in known.items()} | columns
    return columns


def _with_images(samples: Samples, path: Path) -> Samples:
    """The samples with the images of an array file, or of a folder in the order of its names."""
    n, where = len(samples.features), f'--images={path}'
    if path.is_dir():
        files = sorted(file for level in walk(path) for file in level.images)
        if len(files) != n:
            raise UserError(f'{where}: holds {len(files)} images, and there are {n} rows')
        read = [_thumbnail(file) for file in files]
        broken = [file for file, image in zip(files, read, strict=True) if image is None]
        if broken:
            progress.say(
                f'{where}: {len(broken)} of {n} images cannot be read, and are shown black'
            )
        blank = np.zeros((SIDE, SIDE, 3), np.uint8)
        images = np.stack([blank if image is None else image for image in read])
        names = tuple(str(file.relative_to(path)) for file in files)
        return samples._replace(images=images, files=names)
    try:
        arrays = read_arrays(path)
    except UserError as error:
        raise UserError(f'--images={error}') from error
    if isinstance(arrays, dict):
        arrays = next((x for x in arrays.values() if x.ndim == 4 and len(x) == n), np.zeros(0))
    if arrays.ndim != 4 or len(arrays) != n or arrays.dtype != np.uint8:
        raise UserError(
            f'{where}: holds no array [{n}, h, w, c] of uint8, one image for each row of features'
        )
    return samples._replace(images=arrays)


def _thumbnail(file: Path) -> np.ndarray | None:
    """A square of the image `[SIDE, SIDE, 3]`, its proportions kept; None if it cannot be read."""
    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.pad(image.convert('RGB'), (SIDE, SIDE)))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _dynamics(workdir: Path, samples: Samples) -> Dynamics | None:
    """The scores during training, if the run has kept them; NaN for a sample without."""
    if not (workdir / DYNAMICS).exists():
        return None
    kept = read_dynamics(workdir)
    index = np.arange(len(samples.features)) if samples.index is None else samples.index
    row = np.minimum(np.searchsorted(kept.indices, index), len(kept.indices) - 1)
    known = kept.indices[row] == index
    return Dynamics(kept.epochs, np.where(known[:, None], kept.score.T[row], np.nan))
