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
    'BLUE', 'BOUND', 'BROWN', 'CHANGE', 'CURVE', 'DARK', 'DASH', 'DASHES', 'DPI', 'FIGURE', 'FONT',
    'GREEN', 'GUIDE', 'LIGHT', 'LIMIT', 'NAVY', 'NEUTRAL', 'OPTIMUM', 'ORANGE', 'PAGE', 'PARAMETER',
    'PERCENT', 'PURPLE', 'QUIET', 'RULE', 'SCORE', 'SHADE', 'SHORT_SCORE', 'SMALL', 'TAUPE', 'TINY',
    'TITLE', 'VIOLET', 'dashes_of', 'one_line', 'page_variables', 'pattern', 'save',
]  # fmt: skip

# On a white page, and the same order of colours on a dark one.
LIGHT = ('#1b79d6', '#e2580c', '#00663f', '#9b5684', '#5c3310', '#6e74b4', '#0c1c4a', '#9e827a')
DARK = ('#6b86f6', '#e8822e', '#45dc84', '#c868aa', '#f4e65a', '#a3cef8', '#f2fafd', '#a5a2a4')
BLUE, ORANGE, GREEN, PURPLE, BROWN, VIOLET, NAVY, TAUPE = LIGHT
# Lines of the same colour differ in their dashes.
DASHES = ((), (6, 3), (2, 2), (8, 2, 2, 2))
# Greys: grid lines, lines to compare with, shaded areas, and words inside a figure.
RULE, GUIDE, SHADE, QUIET = '#c0c1c2', '#b4b7ba', '#ebebeb', '#5c6166'
# What has no class or value; it can be seen on white and on black.
NEUTRAL = '#7a7a7a'
# Colours of a page, light and dark: background, text, notes, lines, links, every other row.
PAGE = {
    'ground': ('#ffffff', '#15181b'),
    'ink': ('#1b1d1f', '#e4e6e8'),
    'faint': (QUIET, '#a3a9af'),
    'rule': ('#d5d8db', '#3a3f44'),
    'link': ('#005fa3', '#7cc0f5'),
    'stripe': ('#f2f3f4', '#1d2125'),
    **{f'cell-{index}': pair for index, pair in enumerate(zip(LIGHT, DARK, strict=True))},
}
FONT = 'system-ui, sans-serif'

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

# Accuracies in %, their differences, points of curves, scores in tables and below images, bounds,
# the conditions of the theorems, optimal margins and temperatures, and parameters in a title.
PERCENT, CHANGE, CURVE = '.2f', '+z.2f', '.4f'
SCORE, SHORT_SCORE = '.3f', '.2f'
BOUND, LIMIT, OPTIMUM, PARAMETER = '.4f', '.4g', '.6g', '.3g'
DASH = '—'


def dashes_of(cell: int) -> list[int]:
    """The dashes of the lines of a cell; cells of one colour differ in them."""
    return list(DASHES[cell // len(LIGHT) % len(DASHES)])


def pattern(form: str) -> str:
    """A format such as `.2f` as Bokeh writes it, `0.00`."""
    return f'{0:{form}}'


def page_variables() -> str:
    """The colours and the font of a page as variables of its style sheet."""
    light, dark = (
        ''.join(f'--{name}: {pair[side]}; ' for name, pair in PAGE.items()) for side in (0, 1)
    )
    return (
        f':root {{ color-scheme: light dark; --font: {FONT}; {light}}}\n'
        f'@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n'
    )


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
