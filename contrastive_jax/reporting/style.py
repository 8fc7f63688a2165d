"""How figures, tables and pages look: one palette, one set of sizes, one format for each number.

Any two colours of a palette stay apart for readers with each kind of colour blindness, and every
colour stands out from its background. This module imports no matplotlib, so tables can use it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrastive_jax.runtime.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    'BLUE', 'BOUND', 'BROWN', 'CHANGE', 'DARK', 'DASH', 'DASHES', 'DPI', 'FIGURE', 'GREEN', 'GUIDE',
    'LIGHT', 'LIMIT', 'NAVY', 'OPTIMUM', 'ORANGE', 'PARAMETER', 'PERCENT', 'PURPLE', 'QUIET',
    'RULE', 'SCORE', 'SHADE', 'SHORT_SCORE', 'SMALL', 'TAUPE', 'TINY', 'TITLE', 'VIOLET',
    'one_line', 'save',
]  # fmt: skip

# On a white page, and the same order of colours on a dark one.
LIGHT = ('#1b79d6', '#e2580c', '#00663f', '#9b5684', '#5c3310', '#6e74b4', '#0c1c4a', '#9e827a')
DARK = ('#6b86f6', '#e8822e', '#45dc84', '#c868aa', '#f4e65a', '#a3cef8', '#f2fafd', '#a5a2a4')
BLUE, ORANGE, GREEN, PURPLE, BROWN, VIOLET, NAVY, TAUPE = LIGHT
# Lines of the same colour differ in their dashes.
DASHES = ((), (6, 3), (2, 2), (8, 2, 2, 2))
# Greys: grid lines, lines to compare with, shaded areas, and words inside a figure.
RULE, GUIDE, SHADE, QUIET = '#c0c1c2', '#b4b7ba', '#ebebeb', '#5c6166'

# Sizes of text in points: captions, titles of single images, titles of groups.
TINY, SMALL, TITLE = 5.5, 7, 10
DPI = 100
# matplotlib settings of every figure.
FIGURE: dict[Any, Any] = {
    'axes.titlesize': 'medium',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': RULE,
    'grid.linewidth': 0.6,
    'legend.frameon': False,
}

# Accuracies in %, their differences, scores in tables and below images, bounds, the conditions of
# the theorems, optimal margins and temperatures, and parameters in a title.
PERCENT, CHANGE = '.2f', '+z.2f'
SCORE, SHORT_SCORE = '.3f', '.2f'
BOUND, LIMIT, OPTIMUM, PARAMETER = '.4f', '.4g', '.6g', '.3g'
DASH = '—'


def one_line(text: str) -> str:
    """The text with escapes for line breaks, control characters and bytes that are no text.

    An escape sequence would reach the terminal, and no file can hold half a surrogate pair.
    """
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def save(figure: 'Figure', path: Path) -> None:
    """Writes a figure in the format that the suffix of the path names.

    The file is complete or does not exist.
    """
    # Imported here, because tables need no matplotlib.
    import matplotlib

    kind = path.suffix[1:].lower()
    # Some tick labels are made only while the figure is written.
    with matplotlib.rc_context(FIGURE):
        write_whole(path, lambda file: figure.savefig(file, dpi=DPI, format=kind))
