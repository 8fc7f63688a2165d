"""Shows the runs of a sweep while they run.

Where nobody reads any more, because the terminal was closed or `tee` ended, a sweep goes on without
output.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Self, TextIO

from tqdm import tqdm

from .planning import Run
from .status import last_line

__all__ = ['Display', 'print_line']

_SECONDS = 2.0


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Prints a line to a stream, by default standard output, whether or not anybody reads it."""
    stream = stream or sys.stdout
    with _perhaps_unread(stream):
        print(text, file=stream, flush=True)


@contextlib.contextmanager
def _perhaps_unread(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # On a full disk only this line is lost.
        if error.errno not in (errno.EPIPE, errno.EIO):
            return
        # Python would try again at its end, and change the exit status.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Display:
    """On a terminal a bar for the sweep and a line for each running run; else a line an ended run.

    Attributes:
      seconds: time after which the lines should be shown again; None without a terminal.
    """

    def __init__(self, jobs: int, total: int):
        """Opens the bar.

        Args:
          jobs: number of runs at a time.
          total: number of runs.
        """
        self._terminal = sys.stderr.isatty()
        self.seconds = _SECONDS if self._terminal else None
        self._bar = tqdm(total=total, unit='run', disable=not self._terminal)
        self._lines = [
            tqdm(
                bar_format='  {desc}',
                position=1 + job,
                leave=False,
                dynamic_ncols=True,
                disable=not self._terminal,
            )
            for job in range(min(jobs, total))
        ]

    def ended(self, line: str) -> None:
        """Counts a run that has ended, and prints its line."""
        self._bar.update()
        if self._terminal:
            with _perhaps_unread(sys.stderr):
                tqdm.write(line, file=sys.stderr)
        else:
            print_line(line)

    def show(self, running: Sequence[Run]) -> None:
        """Shows the last line of the log of every running run."""
        if not self._terminal:
            return
        texts = [f'{run.title}: {last_line(run.log)}' for run in running]
        for line, text in zip(self._lines, [*texts, *[''] * len(self._lines)], strict=False):
            line.set_description_str(text)

    def __enter__(self) -> Self:
        """The display itself."""
        return self

    def __exit__(self, *_) -> None:
        """Closes the lines."""
        for line in [*reversed(self._lines), self._bar]:
            line.close()
