"""The commands that a launcher runs as its child processes, and how it stops them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ['STOPPED', 'Children', 'blocked', 'on_stop']

# Exit status of a command that was asked to stop and has saved: the same command goes on.
STOPPED = 75


class Children:
    """The commands that run now.

    A signal handler may call `ask` and `kill` while any thread starts a command. `dict.pop` is
    atomic, so every command is asked exactly once, and no lock can be held twice.
    """

    def __init__(self):
        """Starts without any."""
        self.stopping = False
        self._running: dict[int, subprocess.Popen] = {}
        self._not_asked: dict[int, subprocess.Popen] = {}

    def run(self, command: Sequence[str], **options) -> int:
        """Runs a command to its end.

        Args:
          command: program and arguments.
          **options: of `subprocess.Popen`.

        Returns:
          Its exit status; minus the number of the signal that killed it.
        """
        # Ctrl-C would reach the command as well if it were in the session of the terminal. Asked
        # twice, it would end at once without saving. For the same reason it never sees SIGUSR2,
        # which Slurm sends to all processes of a job.
        with blocked([signal.SIGUSR2]):
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )
        self._running[child.pid] = self._not_asked[child.pid] = child
        if self.stopping:
            self.ask()
        try:
            return child.wait()
        finally:
            self._running.pop(child.pid)
            self._not_asked.pop(child.pid, None)

    def ask(self) -> None:
        """Asks every command to save and end, by SIGTERM, unless it was asked before."""
        self.stopping = True
        for pid in tuple(self._not_asked):
            child = self._not_asked.pop(pid, None)
            if child is not None:
                child.terminate()

    def kill(self) -> None:
        """Kills every command together with the processes that it has started."""
        for child in tuple(self._running.values()):
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def on_stop(handler: Callable[[], None]) -> Iterator[None]:
    """Calls `handler` at Ctrl-C, SIGTERM and a closed terminal, unless these are ignored."""
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup`, and a shell that starts something in the background, have ignored some of them.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda *_: handler())
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old or signal.SIG_DFL)


@contextlib.contextmanager
def blocked(signals: Iterable[int]) -> Iterator[None]:
    """Keeps signals from the processes that this thread starts meanwhile, as long as these live."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
