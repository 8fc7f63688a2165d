"""Progress of a command: bars on a terminal, elsewhere at most one line a minute.

Progress goes to standard error, so that standard output holds results alone.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm

__all__ = ['muted', 'say', 'track']

# Seconds between two lines of one loop without a terminal.
_SECONDS = 60.0
_LINE = '{desc}: {unit} {n_fmt} of {total_fmt}, {percentage:.0f} %, {remaining} left{postfix}'

_muted = False


def say(text: str) -> None:
    """Prints a line that names the next phase of the work."""
    # The terminal, or the reader of the pipe, may have ended; the work goes on.
    with contextlib.suppress(OSError):
        if not _muted:
            tqdm.write(text, file=sys.stderr)


def track(
    items: Iterable,
    name: str,
    *,
    total: int | None = None,
    initial: int = 0,
    unit: str = 'it',
    leave: bool = False,
) -> tqdm:
    """Shows the progress of a loop.

    Args:
      items: items to loop over.
      name: name of the loop.
      total: number of items, if `items` has no length.
      initial: number of items that an earlier process has done.
      unit: name of an item.
      leave: whether the bar stays on the terminal after the last item.

    Returns:
      An iterable of the items; its method `set_postfix_str(text)` adds text to the bar or line.
    """
    kind = tqdm if sys.stderr.isatty() else _Lines
    return kind(items, name, total=total, initial=initial, unit=unit, leave=leave, disable=_muted)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Silences this module inside the context, for all processes but 0."""
    global _muted
    before, _muted = _muted, True
    try:
        yield
    finally:
        _muted = before


class _Lines(tqdm):
    """A tqdm that prints lines instead of drawing a bar."""

    def __init__(self, *arguments, **options):
        options |= {'bar_format': _LINE, 'miniters': 1, 'delay': _SECONDS, 'mininterval': _SECONDS}
        super().__init__(*arguments, **options)

    def display(self, msg=None, pos=None) -> None:
        """Prints the line; tqdm calls it with an empty message to remove a bar."""
        del pos
        with contextlib.suppress(OSError):
            if msg is None:
                print(self, file=sys.stderr, flush=True)

    def set_postfix_str(self, s='', refresh=True) -> None:
        """Sets the text at the end of the next line; a bar shows it at once."""
        del refresh
        super().set_postfix_str(s, refresh=False)

    def close(self) -> None:
        """Ends without a last line; tqdm would end with a carriage return."""
        self.delay = float('inf')
        super().close()
