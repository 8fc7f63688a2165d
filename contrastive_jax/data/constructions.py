"""What a run pre-trains on: images made long-tailed, mixed with others, or left out.

Axes: n images of the training split.
"""

from typing import NamedTuple

import numpy as np

from contrastive_jax.config.checks import check_mixes_nothing
from contrastive_jax.data.mixed import Mixed, draw_mixtures, mix
from contrastive_jax.data.score_files import read_indices, read_scores
from contrastive_jax.data.splits import Split
from contrastive_jax.data.stored import StoredImages, array_checksum, checksum
from contrastive_jax.data.tails import long_tail
from contrastive_jax.errors import UserError
from contrastive_jax.graph import subsets

__all__ = ['Construction', 'construct']

# Of scores that no command of ours has made for these images.
_OWN_REMEDY = (
    'give a number for each training image, in their order (of a folder by path; without test/ and '
    'val/ a tenth is held out for tests), or a column file, or a CSV list with one'
)


class Construction(NamedTuple):
    """The training split as pre-training sees it.

    Attributes:
      whole: all images of the split, after mixing.
      kept: indices of the images to pre-train on, ascending.
      mixed: indices of the images that are mixed, or left out by `mixed.drop`, ascending.
      partners: index of the image that each of these is mixed with.
      scored: kind of the scores that removal goes by: 'exact', 'landmarks=R', or None if not known.
      left_out: number of images that `mixed.drop` and removal leave out, without a long tail's.
    """

    whole: Split
    kept: np.ndarray
    mixed: np.ndarray
    partners: np.ndarray
    scored: str | None = None
    left_out: int = 0

    @property
    def available(self) -> int:
        """Number of images before `mixed.drop` and removal."""
        return len(self.kept) + self.left_out

    @property
    def split(self) -> Split:
        """The images to pre-train on."""
        everything = len(self.kept) == len(self.whole.images)
        return self.whole if everything else self.whole.take(self.kept)

    def chosen(self, everything: bool) -> tuple[Split, np.ndarray]:
        """The images to pre-train on, or everything, and their indices in the training split."""
        if everything:
            return self.whole, np.arange(len(self.whole.images))
        return self.split, self.kept

    def summary(self, classes: tuple[str, ...]) -> dict:
        """Numbers of mixed and removed images, for `result.json`."""
        n, labels = len(self.whole.images), self.whole.labels
        removed = np.setdiff1d(np.arange(n), self.kept, assume_unique=True)
        counts = None if labels is None else np.bincount(labels[removed], minlength=len(classes))
        return {
            'mixed': len(self.mixed),
            'removed': len(removed),
            'removed_by_class': None
            if counts is None
            else {name: int(count) for name, count in zip(classes, counts, strict=True)},
            'kept_checksum': array_checksum(self.kept),
            **({} if self.scored is None else {'removal_scores': self.scored}),
        }


def construct(config, train: Split) -> Construction:
    """Applies the long tail, then mixing, then removal, each to the images that the last one kept.

    The result is a pure function of the config, the images and the score file.

    Args:
      config: the whole config; `long_tail`, `mixed`, `removal` and `seed` are used.
      train: the pre-training split as its source gives it.

    Returns:
      All images after mixing, and the indices of those to pre-train on, see `Construction`.

    Raises:
      UserError: a long tail or mixing without labels; mixing with only one class; a score file of
        other images.
    """
    kept = _tail(config, train)
    available = len(kept)
    mixed = _mix(config, train, kept)
    split = train._replace(images=mixed.images)
    if config.mixed.drop:
        kept = np.setdiff1d(kept, mixed.indices, assume_unique=True)
    scored = None
    if config.removal.ratio:
        kept, scored = _remove(config, split, kept)
    left_out = available - len(kept)
    return Construction(split, kept, mixed.indices, mixed.partners, scored, left_out)


def _tail(config, train: Split) -> np.ndarray:
    factor = config.long_tail.factor
    if factor == 1:
        return np.arange(len(train.images))
    if train.labels is None:
        raise UserError(
            f'config.long_tail.factor={factor}: needs labels, and these images have none; leave it '
            'at 1'
        )
    return long_tail(train.labels, factor=factor, seed=config.seed)


def _mix(config, train: Split, kept: np.ndarray) -> Mixed:
    options = config.mixed
    if options.ratio == 0:
        none = np.zeros(0, np.int64)
        return Mixed(train.images, none, none)
    if train.labels is None or len(np.unique(train.labels[kept])) < 2:
        raise UserError(
            f'config.mixed.ratio={options.ratio}: mixes images of two classes, and these have '
            f'{"no labels" if train.labels is None else "only one class"}; leave it at 0'
        )
    if options.drop:
        indices, partners = draw_mixtures(train.labels[kept], ratio=options.ratio, seed=config.seed)
        return Mixed(train.images, kept[indices], kept[partners])
    if isinstance(train.images, StoredImages):
        check_mixes_nothing(options)
    assert isinstance(train.images, np.ndarray)
    mixed = mix(
        train.images[kept],
        train.labels[kept],
        ratio=options.ratio,
        seed=config.seed,
        weight=options.weight,
        match_contrast=options.match_contrast,
    )
    images = train.images.copy()
    images[kept] = mixed.images
    return Mixed(images, kept[mixed.indices], kept[mixed.partners])


def _remove(config, split: Split, kept: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Leaves out `config.removal.ratio` of the indices kept so far; says what the scores are."""
    method, ratio, path = config.removal.method, config.removal.ratio, config.removal.scores
    if method == 'random':
        return kept[subsets.random_subset(len(kept), ratio, config.seed)], None
    where = 'config.removal.scores'
    is_list = path.lower().endswith('.csv')
    if method == 'file' and is_list:
        return _without_listed(
            kept, read_indices(path, len(split.images), where, split.files), ratio, path
        ), None
    if is_list:
        raise UserError(f'{where}={path!r}: a list of images needs config.removal.method=file')
    scores = read_scores(
        path,
        n=len(split.images),
        checksum=checksum(split.images),
        where=where,
        remedy=_OWN_REMEDY,
        files=split.files,
    )
    needed = {
        'difficulty': ('score',),
        'boundary': ('boundary',),
        'sas': ('sas', 'latent_class'),
        'file': ('score',),
    }[method]
    missing = [name for name in needed if name not in scores.columns]
    if missing or (method != 'file' and scores.checksum is None):
        raise UserError(
            f'{where}={path!r}: {", ".join(missing) or "the checksum of the images"} is missing; '
            f'config.removal.method={method!r} needs a scores.npz of python -m '
            'contrastive_jax.score; for scores of your own choose config.removal.method=file'
        )
    rows = scores.rows_of(kept)
    if np.any(rows < 0):
        unknown = kept[rows < 0]
        raise UserError(
            f'{where}={path!r}: has no score for {len(unknown)} of the {len(kept)} images that '
            f'are trained on before removal, first image {unknown[0]}; give scores of a run that '
            'trains on all of them, or score that run with --all'
        )
    score, *classes = (scores.columns[name][rows] for name in needed)
    if not classes:
        return kept[subsets.most_difficult_removed(score, ratio)], scores.kind()
    # SAS removes the same share of each latent class.
    members = [np.flatnonzero(classes[0] == name) for name in np.unique(classes[0])]
    chosen = [rows[subsets.most_difficult_removed(score[rows], ratio)] for rows in members]
    return kept[np.sort(np.concatenate(chosen))], scores.kind()


def _without_listed(kept: np.ndarray, listed: np.ndarray, ratio: float, path: str) -> np.ndarray:
    """The indices that a list does not name; it must name the share that the ratio says."""
    named = np.isin(kept, listed)
    left = subsets.most_difficult_removed(named.astype(np.float64), ratio)
    count = named.sum()
    if count == len(kept):
        raise UserError(
            f'config.removal.scores={path!r}: names all {count} images that are trained on, and a '
            'list names those to leave out; scores of all images are read from scores.npz'
        )
    if count == 0:
        raise UserError(
            f'config.removal.scores={path!r}: names none of the {len(kept)} images that are '
            'trained on before removal; a long tail and config.mixed.drop leave images out before'
        )
    if len(kept) - len(left) != count:
        raise UserError(
            f'config.removal.ratio={ratio}: {path} names {count} of the {len(kept)} images that '
            f'are trained on; give --config.removal.ratio={float(count / len(kept))!r}'
        )
    return kept[left]
