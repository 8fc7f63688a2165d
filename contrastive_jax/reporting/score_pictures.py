"""The pictures of a scoring: histogram, gallery of all samples, gallery of each class.

Axes: m samples.
"""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from contrastive_jax import graph
from contrastive_jax.data.stored import StoredImages
from contrastive_jax.evaluation.samples import Options, Samples
from contrastive_jax.graph.columns import class_means, hardest_and_easiest
from contrastive_jax.reporting import galleries
from contrastive_jax.reporting.score_summary import hardest_classes, sample_names
from contrastive_jax.reporting.style import one_line, save

__all__ = ['write_pictures']

# Samples at each end of the gallery.
_SHOWN = 16
# Nobody looks at a picture of a thousand lines.
_MOST_CLASSES = 20

Images = np.ndarray | StoredImages


def write_pictures(out: Path, samples: Samples, score: np.ndarray, options: Options) -> None:
    """Draws the histogram and, of images, the galleries.

    Args:
      out: folder to write to.
      samples: the samples that were scored.
      score: `[m]` their scores.
      options: those with which they were scored.
    """
    classes = tuple(map(one_line, samples.classes))
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings('ignore', message='Glyph')
        save(galleries.histogram(score, samples.labels, classes), out / 'scores_histogram.png')
        if samples.images is not None:
            picture = _gallery(samples, samples.images, score, options, classes)
            save(picture, out / 'scores_gallery.png')
            if samples.labels is not None:
                picture = _class_gallery(samples, samples.images, samples.labels, score, classes)
                save(picture, out / 'scores_classes.png')


def _gallery(
    samples: Samples, images: Images, score: np.ndarray, options: Options, classes: tuple[str, ...]
) -> Figure:
    hardest, easiest = hardest_and_easiest(score, np.arange(len(score)), _SHOWN)
    shown = np.unique(np.concatenate([hardest, easiest]))
    neighbours = _partners(samples, shown, options)
    # Read only what is drawn, because the images may be on disk.
    rows = np.unique(np.concatenate([shown, neighbours]))
    hardest, easiest, shown, neighbours = (
        np.searchsorted(rows, some) for some in (hardest, easiest, shown, neighbours)
    )
    labels = samples.labels
    return galleries.gallery(
        images[rows],
        score[rows],
        (('hardest, each → its nearest in the difficult band', hardest), ('easiest', easiest)),
        dict(zip(shown.tolist(), neighbours.tolist(), strict=True)),
        None if labels is None else [classes[label] for label in labels[rows]],
        sample_names(samples, rows),
    )


def _partners(samples: Samples, shown: np.ndarray, options: Options) -> np.ndarray:
    """Nearest in the band; images trained on have theirs among themselves, as they are scored."""
    nearest = graph.nearest_difficult(samples.features, shown, **options.band())
    rows = samples.trained_apart()
    if rows is None or len(rows) < 2:
        return nearest
    own = np.isin(shown, rows)
    within = np.searchsorted(rows, shown[own])
    partners = np.array(nearest)
    partners[own] = rows[graph.nearest_difficult(samples.features[rows], within, **options.band())]
    return partners


def _class_gallery(
    samples: Samples,
    images: Images,
    labels: np.ndarray,
    score: np.ndarray,
    classes: tuple[str, ...],
) -> Figure:
    names = hardest_classes(class_means(score, labels, classes), _MOST_CLASSES)
    chosen = [index for index, name in enumerate(classes) if name in names]
    ends = [
        hardest_and_easiest(score, np.flatnonzero(labels == index), galleries.PER_CLASS)
        for index in chosen
    ]
    rows = np.unique(np.concatenate([rows for both in ends for rows in both]))
    return galleries.class_gallery(
        images[rows],
        score[rows],
        np.searchsorted(np.array(chosen), labels[rows]),
        [classes[index] for index in chosen],
        sample_names(samples, rows),
    )
