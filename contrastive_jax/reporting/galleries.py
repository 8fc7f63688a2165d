"""Pictures of samples: how their scores are spread, the samples at both ends, and their views.

Axes: n samples, m of them in a group, h w pixels, c channels.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contrastive_jax.graph.columns import hardest_and_easiest
from contrastive_jax.reporting.style import (
    BLUE,
    FIGURE,
    ORANGE,
    SCORE,
    SHORT_SCORE,
    SMALL,
    TINY,
    TITLE,
)

__all__ = ['PER_CLASS', 'class_gallery', 'gallery', 'histogram', 'view_gallery']

# Samples that `class_gallery` shows at each end of a class.
PER_CLASS = 6
# Pairs in a line of `gallery`.
_PAIRS = 8
# Letters that fit under a picture.
_CAPTION, _NAME = 14, 9


@matplotlib.rc_context(FIGURE)
def histogram(
    score: Float[np.ndarray, ' n'],
    labels: Int[np.ndarray, ' n'] | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Counts of samples by score and, with labels, the spread within each class.

    Args:
      score: `[n]`.
      labels: `[n]` indices into `classes`.
      classes: names of the classes.

    Returns:
      The figure: one plot, and with labels a second one beside it.
    """
    figure = Figure(figsize=(10 if labels is not None else 5, 4), layout='constrained')
    axes = figure.subplots(1, 2 if labels is not None else 1, squeeze=False)[0]
    axes[0].hist(score, bins=50, color=BLUE)
    median = np.median(score)
    axes[0].axvline(median, color=ORANGE, label=f'median {median:{SCORE}}')
    axes[0].set(xlabel='score (right: difficult)', ylabel='samples')
    axes[0].legend()
    if labels is not None:
        members = [(name, score[labels == index]) for index, name in enumerate(classes)]
        members = [(name, values) for name, values in members if len(values)]
        members.sort(key=lambda entry: np.median(entry[1]))
        shown = members if len(members) <= 20 else members[:10] + members[-10:]
        axes[1].boxplot(
            [values for _, values in shown],
            orientation='horizontal',
            tick_labels=[name for name, _ in shown],
            flierprops={'markersize': 2},
            medianprops={'color': ORANGE},
        )
        axes[1].grid(visible=False, axis='y')
        for label in axes[1].get_yticklabels():
            label.set_parse_math(False)
        axes[1].set(
            xlabel='score', title='by class' if shown is members else '10 easiest, 10 hardest'
        )
    return figure


@matplotlib.rc_context(FIGURE)
def gallery(
    images: UInt8[np.ndarray, 'n h w c'],
    score: Float[np.ndarray, ' n'],
    rows: Sequence[tuple[str, Int[np.ndarray, ' m']]],
    neighbours: dict[int, int],
    names: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
) -> Figure:
    """Samples in titled groups, each beside its nearest neighbour in the difficult band.

    Args:
      images: the samples shown and their neighbours.
      score: `[n]`.
      rows: title and indices of each group; a line holds at most eight pairs.
      neighbours: index of the neighbour of every sample shown.
      names: class of each sample, where known.
      captions: `[n]` text below each sample, such as the name of its file.

    Returns:
      The figure, 15 inches wide, and about an inch high for each line.
    """
    lines: list[str | Int[np.ndarray, ' _']] = []
    for title, samples in rows:
        lines += [title, *(samples[i : i + _PAIRS] for i in range(0, len(samples), _PAIRS))]
    heights = [0.25 if isinstance(line, str) else 1.0 for line in lines]
    captions = [''] * len(images) if captions is None else captions
    figure = Figure(figsize=(1.85 * _PAIRS, 1.05 * sum(heights)))
    # Three columns for each pair: the sample, its neighbour, and a gap.
    grid = figure.add_gridspec(
        len(lines),
        3 * _PAIRS,
        height_ratios=heights,
        width_ratios=[1, 1, 0.3] * _PAIRS,
        left=0.005,
        right=1,
        bottom=0.02,
        top=0.99,
        wspace=0.06,
        hspace=0.34,
    )
    for row, line in enumerate(lines):
        if isinstance(line, str):
            axes = figure.add_subplot(grid[row, :])
            axes.set_axis_off()
            axes.text(0, 0.5, line, fontsize=TITLE, fontweight='bold', va='center')
            continue
        for pair, sample in enumerate(map(int, line)):
            other = neighbours[sample]
            label = '' if names is None else f'{_name(names[sample])} '
            first, second = (figure.add_subplot(grid[row, 3 * pair + i]) for i in (0, 1))
            _show(first, images[sample], f'{label}{score[sample]:{SHORT_SCORE}}', captions[sample])
            # A sample without neighbours in its band stands alone.
            second.set_axis_off()
            if other != sample:
                title = '→ ' + ('' if names is None else _name(names[other]))
                _show(second, images[other], title, captions[other])
    return figure


@matplotlib.rc_context(FIGURE)
def class_gallery(
    images: UInt8[np.ndarray, 'n h w c'],
    score: Float[np.ndarray, ' n'],
    labels: Int[np.ndarray, ' n'],
    classes: Sequence[str],
    captions: Sequence[str] | None = None,
) -> Figure:
    """The hardest and the easiest samples of each class, one class per line.

    Args:
      images: the samples to choose from, at least those at both ends of each class.
      score: `[n]`.
      labels: `[n]` indices into `classes`.
      classes: names.
      captions: `[n]` text below each sample, such as the name of its file.

    Returns:
      The figure, about an inch high for each class. Classes without samples have no line.
    """
    captions = [''] * len(images) if captions is None else captions
    present = [index for index in range(len(classes)) if np.any(labels == index)]
    figure = Figure(figsize=(0.85 * (2 * PER_CLASS + 2), 0.95 * len(present) + 0.4))
    grid = figure.subplots(
        len(present),
        2 * PER_CLASS + 1,
        squeeze=False,
        gridspec_kw={'left': 0.11, 'right': 0.995, 'wspace': 0.06, 'hspace': 0.45},
    )
    # In inches, for the head line and for the captions of the last line.
    height = figure.get_figheight()
    figure.subplots_adjust(top=1 - 0.5 / height, bottom=0.18 / height)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, line in zip(present, grid, strict=True):
        members = np.flatnonzero(labels == index)
        line[0].text(
            -0.15, 0.5, classes[index], transform=line[0].transAxes, ha='right', va='center',
            parse_math=False,
        )  # fmt: skip
        ends = hardest_and_easiest(score, members, PER_CLASS)
        for first, samples in zip((0, PER_CLASS + 1), ends, strict=True):
            for column, sample in enumerate(samples):
                title = f'{score[sample]:{SHORT_SCORE}}'
                _show(line[first + column], images[sample], title, captions[sample])
    for column, title in ((0, 'hardest'), (PER_CLASS + 1, 'easiest')):
        grid[0, column].text(
            0, 1.3, title, transform=grid[0, column].transAxes, fontsize=TITLE, fontweight='bold'
        )
    return figure


@matplotlib.rc_context(FIGURE)
def view_gallery(
    images: UInt8[np.ndarray, 'n h w c'], views: Sequence[Float[np.ndarray, 'n h w c']]
) -> Figure:
    """One image per row: the original first, then its views.

    Args:
      images: the originals.
      views: for each column one view of every image, in [0, 1].

    Returns:
      The figure, one inch for each picture.
    """
    columns = [images / 255.0, *views]
    size = (len(columns), len(images))
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(pictures):
            grid[row, column].imshow(_pixels(picture), cmap='gray', vmin=0, vmax=1)
            grid[row, column].set_axis_off()
    grid[0, 0].set_title('image')
    grid[0, 1].set_title('views')
    return figure


def _name(text: str) -> str:
    """The name of a class, short enough for the title of a picture."""
    return text if len(text) <= _NAME else text[: _NAME - 1] + '…'


def _pixels(image: np.ndarray) -> np.ndarray:
    """The image as matplotlib takes it, which wants no channel of grey ones."""
    return image[..., 0] if image.shape[-1] == 1 else image


def _show(axes: Axes, image: UInt8[np.ndarray, 'h w c'], title: str, caption: str) -> None:
    axes.set_axis_off()
    axes.imshow(_pixels(image), cmap='gray', vmin=0, vmax=255)
    # A dollar sign in a name starts no formula.
    axes.set_title(title, fontsize=SMALL, pad=2, parse_math=False)
    # The end of a path says more than its start.
    short = caption if len(caption) <= _CAPTION else '…' + caption[1 - _CAPTION :]
    axes.text(
        0.5, -0.03, short, transform=axes.transAxes, fontsize=TINY, ha='center', va='top',
        parse_math=False,
    )  # fmt: skip
