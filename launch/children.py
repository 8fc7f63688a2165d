"""Runs commands as child processes of a launcher, and stops them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence

from contrastive_jax.runtime.preemption import blocked

__all__ = ['Children', 'on_stop']


class Children:
    """The commands that are running.

    A signal handler may call `ask` and `kill` while any thread starts a command. `dict.pop` is
    atomic, so every command is asked exactly once, without a lock that the handler could wait for.
    """

    def __init__(self) -> None:
        """Starts with no command."""
        self.stopping = False
        self._running: dict[int, subprocess.Popen] = {}
        self._not_asked: dict[int, subprocess.Popen] = {}

    def run(self, command: Sequence[str], **options) -> int:
        """Runs a command to its end.

        Args:
          command: program and arguments.
          **options: options of `subprocess.Popen`.

        Returns:
          Its exit status, or minus the number of the signal that killed it.
        """
        # In the session of the terminal, Ctrl-C would reach the command too, and a second signal
        # ends it without saving. For the same reason SIGUSR2 is blocked, which Slurm sends to all
        # processes of a job.
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
        """Sends SIGTERM to every command that has not had it, so that it saves and ends."""
        self.stopping = True
        for pid in tuple(self._not_asked):
            child = self._not_asked.pop(pid, None)
            if child is not None:
                child.terminate()

    def kill(self) -> None:
        """Kills every command and the processes that it has started."""
        for child in tuple(self._running.values()):
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def on_stop(handler: Callable[[int], None]) -> Iterator[None]:
    """Calls `handler` on Ctrl-C, SIGTERM and a closed terminal, unless the signal is ignored.

    Args:
      handler: takes the number of the signal.
    """
    # `preemption` reads it, and would end the sweep at the second signal while its runs go on.
    wakeup = signal.set_wakeup_fd(-1)
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup`, and shells that start background jobs, ignore some of these signals.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda number, _: handler(number))
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old or signal.SIG_DFL)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
