"""What an atlas shows: the samples, their scores, their neighbours and their places on the map.

Axes: n samples, k features, c neighbours, t looks during training.
"""

import re
from typing import NamedTuple

import numpy as np

from contrastive_jax.errors import UserError
from contrastive_jax.randomness import Use, legacy_rng

__all__ = ['MAPS', 'Content', 'ScoreCurves', 'chosen_rows', 'project']

MAPS = ('auto', 'pca', 'umap')


class ScoreCurves(NamedTuple):
    """The score of each sample while an encoder learnt.

    Attributes:
      epochs: `[t]` epochs at which the scores were taken.
      scores: `[n, t]`; NaN for a sample that was not scored.
    """

    epochs: np.ndarray
    scores: np.ndarray


class Content(NamedTuple):
    """The samples of an atlas, in one order.

    Attributes:
      title: words that say what the samples are.
      index: `[n]` index of each sample in its data set.
      place: `[n, 2]` place on the map.
      map_name: how the places were made.
      numbers: what can be chosen to colour, filter and sort by, each `[n]`: `score` first, and also
        `alpha`, `beta` and `gamma`; a value that is not finite is shown as missing.
      verdict: `[n]` names.
      nearest: `[n, c]` rows of the nearest samples; -1 where there are fewer.
      partners: `[n, c]` rows of the nearest difficult partners; -1 where there are fewer.
      labels: `[n]` names of the classes, or None.
      files: `[n]` names of the image files, or None.
      images: `[n, h, w, c]` uint8, or a list of such images of any size, or None.
      dynamics: scores during training, or None.
      notes: sentences that say what is missing or was left out.
    """

    title: str
    # The field hides `tuple.index`, which nobody calls on these.
    index: np.ndarray  # type: ignore[assignment]
    place: np.ndarray
    map_name: str
    numbers: dict[str, np.ndarray]
    verdict: tuple[str, ...]
    nearest: np.ndarray
    partners: np.ndarray
    labels: tuple[str, ...] | None
    files: tuple[str, ...] | None
    images: np.ndarray | list[np.ndarray] | None
    dynamics: ScoreCurves | None
    notes: tuple[str, ...]

    def classes(self) -> list[str]:
        """The names of the classes in order, whole numbers by their value."""
        names = set(self.labels or ())
        whole = all(re.fullmatch('-?[0-9]{1,18}', name) for name in names)
        return sorted(names, key=int if whole else None)


def chosen_rows(score: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted rows of at most `most` samples: all, or the hardest, the easiest and a random part.

    Two fifths are the hardest, one fifth the easiest, and two fifths a random part of the rest.
    """
    n = len(score)
    if n <= most:
        return np.arange(n)
    order = np.argsort(-score, kind='stable')
    hard, easy = 2 * most // 5, most // 5
    rest = rng.permutation(order[hard : n - easy])[: most - hard - easy]
    return np.sort(np.concatenate([order[:hard], order[n - easy :], rest]))


def project(features: np.ndarray, name: str, seed: int) -> tuple[np.ndarray, str]:
    """Places of samples on a map.

    Args:
      features: `[n, k]`, any scale.
      name: of `MAPS`; 'auto' is UMAP where umap-learn is installed, and PCA elsewhere.
      seed: of UMAP.

    Returns:
      `[n, 2]` places and the name of the method.

    Raises:
      UserError: UMAP is asked for, and umap-learn is not installed.
    """
    rows = np.asarray(features, np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if name != 'pca' and len(rows) > 15:
        try:
            import umap
        except ImportError as error:
            if name == 'umap':
                raise UserError(
                    '--map=umap: needs umap-learn; pip install umap-learn, or give --map=pca'
                ) from error
        else:
            return umap.UMAP(
                metric='cosine', random_state=legacy_rng(Use.ATLAS_MAP, seed)
            ).fit_transform(rows), 'UMAP'
    rows = rows - rows.mean(axis=0)
    _, axes = np.linalg.eigh(rows.T @ rows)
    places = rows @ axes[:, ::-1][:, :2]
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1]))), 'PCA'
