"""Processes that are measured one after the other: each stands still while another works.

What they do is `peer/turns.py`.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from launch.accelerators import gpus, variables

__all__ = ['Side', 'one_gpu', 'started']


def one_gpu() -> dict[str, str]:
    """Variables of the environment with which a process sees the first of several GPUs alone.

    JAX would take all of them and PyTorch one, which is no comparison.
    """
    names = gpus()
    return variables(0, names, len(names))


class Side:
    """A process that works when asked to, and stands still otherwise."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None):
        """Starts it, waits until it is ready, and stops it."""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            env={**os.environ, **(environment or {})},
        )
        self.shown = ''
        if self.process.stdout.readline() != 'ready\n':
            self.close()
            raise SystemExit(f'{" ".join(command)} does not start')
        self._signal(signal.SIGSTOP)

    def seconds(self, calls: int = 1) -> float:
        """Mean seconds of a call, of `calls`; the result of the last one is left in `shown`."""
        self._signal(signal.SIGCONT)
        self.process.stdin.write(f'{calls}\n')
        self.process.stdin.flush()
        seconds, self.shown = self.process.stdout.readline().split(maxsplit=1)
        self._signal(signal.SIGSTOP)
        return float(seconds) / calls

    def close(self) -> None:
        """Ends it."""
        self._signal(signal.SIGKILL)
        # Waits for its end, and closes its pipes.
        with self.process:
            pass

    def _signal(self, number) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def started(
    commands: dict[str, list[str]], environments: dict[str, dict[str, str]] | None = None
) -> Iterator[dict[str, Side]]:
    """Starts the processes by name, and ends them, also when this one is told to end."""
    with contextlib.ExitStack() as stack:
        # By default Python ends without leaving any `with`, and the others would stand still.
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        stack.callback(signal.signal, signal.SIGTERM, before)
        yield {
            name: stack.enter_context(
                contextlib.closing(Side(command, (environments or {}).get(name)))
            )
            for name, command in commands.items()
        }
