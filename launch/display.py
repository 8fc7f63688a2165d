"""Shows the runs of a sweep while they run.

Where nobody reads any more, because the terminal was closed or `tee` ended, a sweep goes on without
output.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, TextIO

from tqdm import tqdm

from .planning import Run
from .status import State, last_line, state_of, time_left

__all__ = ['Display', 'print_line']

_SECONDS = 2.0
# The bar's own guess of the time left takes runs that were done before as runs of no time.
_BAR = '{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]'


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

    def __init__(self, jobs: int, runs: Sequence[Run]):
        """Opens the bar.

        Args:
          jobs: number of runs at a time.
          runs: all of them.
        """
        # Those that have failed are left out.
        self._states: dict[Path, State] = {
            run.folder: State(run.title, 'waiting', '') for run in runs
        }
        self._terminal = sys.stderr.isatty()
        self.seconds = _SECONDS if self._terminal else None
        self._bar = tqdm(total=len(runs), bar_format=_BAR, disable=not self._terminal)
        self._lines = [
            tqdm(
                bar_format='  {desc}',
                position=1 + job,
                leave=False,
                dynamic_ncols=True,
                disable=not self._terminal,
            )
            for job in range(min(jobs, len(runs)))
        ]

    def ended(self, run: Run, line: str, *, done: bool) -> None:
        """Counts a run that has ended, and prints its line."""
        del self._states[run.folder]
        if done:
            makes = [str(path.relative_to(run.folder)) for path in run.makes]
            self._states[run.folder] = state_of(run.folder, run.title, makes)
        self._bar.update()
        if self._terminal:
            with _perhaps_unread(sys.stderr):
                tqdm.write(line, file=sys.stderr)
        else:
            print_line(line)

    def show(self, running: Sequence[Run]) -> None:
        """Shows the last line of the log of every running run, and the time that is left."""
        if not self._terminal:
            return
        now = {run.folder: State(run.title, 'running', last_line(run.log)) for run in running}
        self._bar.set_postfix_str(time_left([*(self._states | now).values()]))
        texts = [f'{state.title}: {state.line}' for state in now.values()]
        for line, text in zip(self._lines, [*texts, *[''] * len(self._lines)], strict=False):
            line.set_description_str(text)

    def __enter__(self) -> Self:
        """The display itself."""
        return self

    def __exit__(self, *_) -> None:
        """Closes the lines."""
        for line in [*reversed(self._lines), self._bar]:
            line.close()
