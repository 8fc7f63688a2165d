"""Gathers what an atlas shows, from a scored run or from files.

Axes: n samples, m of them on the page, k features.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from contrastive_jax.config import FIELDS
from contrastive_jax.data.file_tree import walk, warn_of_order
from contrastive_jax.data.image_files import BrokenImage, read_image
from contrastive_jax.data.sampling import rows_of
from contrastive_jax.data.score_files import ScoreFile, read_scores
from contrastive_jax.data.splits import image_cure
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.data.survey import collapse, relative_spread
from contrastive_jax.errors import UserError
from contrastive_jax.evaluation.samples import (
    Options,
    Samples,
    from_files,
    from_run,
    score,
    verdicts_of,
    with_outlier_isolation,
)
from contrastive_jax.graph.density import isolation
from contrastive_jax.graph.difficulty import sample_difficulty
from contrastive_jax.graph.neighbours import Neighbours, find_neighbours
from contrastive_jax.graph.verdicts import VERDICTS
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.reporting.atlas.content import Content, ScoreCurves, chosen_rows, project
from contrastive_jax.reporting.atlas.sprites import SIDE, thumbnail
from contrastive_jax.runs.dynamics import read_dynamics
from contrastive_jax.runs.names import DYNAMICS
from contrastive_jax.runs.workdir import check_outside_data_of
from contrastive_jax.runtime import progress
from contrastive_jax.runtime.files import printable, read_arrays, read_json

__all__ = ['SampleFiles', 'class_names', 'of_files', 'of_run', 'small']

# Neighbours that the page shows.
_SHOWN = 8
_FIRST = ('score', 'alpha', 'beta', 'gamma')
# Columns that count or name something.
_NO_NUMBERS = (
    'verdict', 'label', 'latent_class', 'trained', 'partner', 'projection_x', 'projection_y',
)  # fmt: skip


class SampleFiles(NamedTuple):
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
    """The samples of a run, with the scores in its folder; without any, they are computed.

    Raises:
      UserError: a run that is not trained, or scores of another step.
    """
    # An earlier version wrote no npz file of more than a million samples.
    kinds = [workdir / f'scores.{kind}' for kind in ('npz', 'parquet')]
    scores = next((file for file in kinds if file.exists()), None)
    check_outside_data_of([workdir], out)
    samples, options = from_run(workdir, everything=True)
    if scores is None:
        progress.say(f'{workdir}: holds no scores; computes them for this page alone')
        columns = score(samples, options)
    else:
        n = len(samples.features)
        checksum = samples.image_checksum()
        file = read_scores(str(scores), n=n, checksum=checksum, where='scores', dynamics=True)
        made = _made_with(scores)
        if made.get('step') not in (None, samples.step):
            raise UserError(
                f'{scores}: holds scores of step {made["step"]}, and the run is at step '
                f'{samples.step} now; score it again with --overwrite'
            )
        options = _band(options, made)
        samples, columns = _scored(samples, file)
    content = _content(samples, options, columns, map_name, most)
    return content._replace(dynamics=_dynamics(workdir, content.index))


def of_files(files: SampleFiles, map_name: str, most: int) -> Content:
    """Samples with features of any encoder.

    Raises:
      UserError: files that cannot be read or do not fit together.
    """
    samples, options = from_files(files.features, files.labels), Options()
    n = len(samples.features)
    notes: list[str] = []
    band = ''
    if files.images is not None:
        # Older score files hold the checksum of the features in place of that of the images.
        samples = samples._replace(checksum=samples.image_checksum())
        samples, notes = _with_images(samples, Path(files.images))
    if files.scores is None:
        columns = score(samples, options)
    else:
        checksum = samples.image_checksum()
        file = read_scores(
            files.scores,
            n=n,
            checksum=checksum,
            where='--scores',
            dynamics=True,
            samples='rows of features',
        )
        made = _made_with(Path(files.scores))
        theirs, ours = made.get('features_checksum'), samples.features_checksum
        if theirs is not None and theirs != ours:
            raise UserError(
                f'--scores={files.scores}: scores other features (checksum {theirs[:12]}, here '
                f'{str(ours)[:12]}); score these'
            )
        options = _band(options, made)
        if 'pos_high' not in made:
            band = (
                'The difficult band of these scores is not known, so that of the partners is '
                f'{options.pos_high} to {options.pos_low}: keep scores.json beside the scores.'
            )
        samples, columns = _scored(samples, file)
    content = _content(samples, options, columns, map_name, most)
    return content._replace(notes=tuple(filter(None, (*notes, *content.notes, band))))


def _made_with(scores: Path) -> dict:
    """What the summary beside a file of scores says of their making; empty if there is none."""
    summary = scores.parent / 'scores.json'
    return read_json(summary) if scores.stem == 'scores' and summary.exists() else {}


def _band(options: Options, made: dict) -> Options:
    """The band in which the samples were scored, where it is known."""
    known = {name: made[name] for name in ('pos_high', 'pos_low') if name in made}
    return options._replace(**known)


def _scored(samples: Samples, file: ScoreFile) -> tuple[Samples, dict[str, np.ndarray]]:
    """The samples that a file scores, in its order, and their columns."""
    verdict = file.columns.get('verdict')
    if verdict is not None and not np.isin(verdict, range(len(VERDICTS))).all():
        raise UserError(
            f'scores: verdict holds {verdict.min()} to {verdict.max()}, need 0 to '
            f'{len(VERDICTS) - 1}; score this data set again'
        )
    return (samples if file.index is None else samples.taken(file.index)), file.columns


def _content(
    samples: Samples,
    options: Options,
    columns: dict[str, np.ndarray],
    map_name: str,
    most: int,
) -> Content:
    n = len(samples.features)
    rows = chosen_rows(columns['score'], most, host_rng(Use.ATLAS_SAMPLE, samples.seed))
    notes = []
    if words := collapse(relative_spread(samples.features)):
        notes.append(words[0].upper() + words[1:])
    if len(rows) < n:
        notes.append(
            f'{len(rows)} of {n} samples are here: the hardest, the easiest and a random part. '
            'Neighbours are those among them.'
        )
    samples = samples.taken(rows)
    columns, missing = _complete(
        {name: values[rows] for name, values in columns.items()}, samples, options
    )
    if missing and len(rows) < n:
        notes.append(f'Computed among the samples here, since the scores lack them: {missing}.')
    if samples.labels is None:
        notes.append('There are no labels, so no label is suspected and no class is shown.')
    if samples.images is None:
        notes.append('There are no images, so samples are shown by their index.')
    near = _neighbours(samples, options)
    progress.say('map')
    place, how = project(samples.features, map_name, samples.seed)
    assert samples.index is not None
    return Content(
        title=samples.source,
        index=samples.index,
        place=place,
        map_name=how,
        numbers={name: columns[name] for name in _in_order(columns)},
        verdict=tuple(VERDICTS[int(code)] for code in columns['verdict']),
        nearest=near.nearest,
        partners=near.partners,
        labels=class_names(samples),
        files=samples.files,
        images=small(samples.images),
        dynamics=None,
        notes=tuple(notes),
    )


def small(images: np.ndarray | StoredImages | None) -> np.ndarray | None:
    """The images; those on disk as thumbnails, because all of them may not fit into memory."""
    if isinstance(images, StoredImages):
        return dataclasses.replace(images, size=SIDE)[:]
    return images


def class_names(samples: Samples) -> tuple[str, ...] | None:
    """The name of the class of each sample; None without labels."""
    if samples.labels is None:
        return None
    return tuple(samples.classes[label] if label >= 0 else 'no class' for label in samples.labels)


def _in_order(columns: dict[str, np.ndarray]) -> list[str]:
    """Names of the numbers to choose from, those that the theory speaks of first."""
    others = [name for name in columns if name not in (*_FIRST, *_NO_NUMBERS)]
    return [*_FIRST, *others]


def _neighbours(samples: Samples, options: Options) -> Neighbours:
    features, rows = samples.features, samples.trained_apart()
    if len(features) < 2:
        nobody = np.full((len(features), 1), -1)
        return Neighbours(nobody, np.zeros(nobody.shape), nobody)
    near = find_neighbours(features, **options.band(), count=_SHOWN)
    if rows is None or len(rows) < 2:
        return near
    # As they are scored: images trained on have their band among themselves.
    own = find_neighbours(features[rows], **options.band(), count=_SHOWN).partners
    partners = near.partners.copy()
    partners[rows] = -1
    partners[rows, : own.shape[1]] = np.where(own < 0, -1, rows[own])
    return near._replace(partners=partners)


def _complete(
    columns: dict[str, np.ndarray], samples: Samples, options: Options
) -> tuple[dict[str, np.ndarray], str]:
    """Adds the columns that the scores do not hold; returns their names too."""
    added: dict[str, np.ndarray] = {}
    if not {*_FIRST} <= columns.keys():
        difficulty = sample_difficulty(samples.features, **options.band())
        added = {name: np.asarray(values) for name, values in difficulty._asdict().items()}
    if 'isolation' not in columns:
        added['isolation'] = np.asarray(isolation(samples.features))
    known = added | columns
    if 'verdict' not in columns:
        everyone = np.arange(len(samples.features))
        judged = {'verdict': np.zeros(len(everyone), np.int64)}
        # Isolation from a file may be that among many more samples.
        own = 'isolation' in added
        told = with_outlier_isolation(everyone, samples.features, known) if own else known
        judged |= verdicts_of(everyone, samples, options, told)
        known, added = judged | known, judged | added
    return known, ', '.join(name for name in added if name not in columns)


def _with_images(samples: Samples, path: Path) -> tuple[Samples, list[str]]:
    """The samples with the images of an array file or of a folder, and what is to be said of it.

    The images of a folder belong to the rows in the order of their names.
    """
    n, where = len(samples.features), f'--images={path}'
    if path.is_dir():
        files = sorted(file for level in walk(path) for file in level.images)
        if len(files) != n:
            raise UserError(
                f'{where}: holds {len(files)} images, and there are {n} rows; give a folder with '
                'the image of each row, and no other'
            )
        read = [_thumbnail(file) for file in files]
        names = tuple(printable(file.relative_to(path).as_posix()) for file in files)
        warn_of_order(names, where)
        blank = np.zeros((SIDE, SIDE, 3), np.uint8)
        images = np.stack([blank if image is None else image for image in read])
        broken = [name for name, image in zip(names, read, strict=True) if image is None]
        notes = []
        if broken:
            notes.append(
                f'{len(broken)} of {n} images cannot be read, and are shown black; the first is '
                f'{broken[0]}.'
            )
        return samples._replace(images=images, files=names), notes
    try:
        arrays = read_arrays(path)
    except UserError as error:
        raise UserError(f'--images={error}') from error
    named = arrays if isinstance(arrays, dict) else {'': arrays}
    arrays = next((x for x in named.values() if x.ndim == 4 and len(x) == n), np.zeros(0))
    fits = arrays.ndim == 4 and len(arrays) == n and arrays.size and arrays.shape[3] in (1, 3, 4)
    if not fits or arrays.dtype != np.uint8:
        held = [f'{name} {x.dtype} {list(x.shape)}'.strip() for name, x in named.items()]
        raise UserError(
            f'{where}: holds no array [{n}, h, w, c] of uint8, one image for each row of features, '
            f'but {", ".join(held) or "nothing"}{image_cure(arrays)}'
        )
    return samples._replace(images=arrays), []


def _thumbnail(file: Path) -> np.ndarray | None:
    """A square of the image `[SIDE, SIDE, 3]`, its proportions kept; None if it cannot be read."""
    try:
        image = read_image((file,), 'RGB', FIELDS['data.max_pixels'].default, 0)
    except BrokenImage:
        return None
    square = Image.new('RGB', (SIDE, SIDE))
    small = thumbnail(np.asarray(image))
    square.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.asarray(square)


def _dynamics(workdir: Path, index: np.ndarray) -> ScoreCurves | None:
    """The scores of some images during training, if the run has kept them; NaN where it has not."""
    if not (workdir / DYNAMICS).exists():
        return None
    kept = read_dynamics(workdir)
    rows = rows_of(kept.indices, index)
    return ScoreCurves(kept.epochs, np.where(rows[:, None] >= 0, kept.score.T[rows], np.nan))
