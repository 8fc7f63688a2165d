"""Stop signals: SIGTERM (Slurm, spot machines), SIGINT (Ctrl-C), SIGHUP (a closed terminal).

A run that trains saves a checkpoint after its step and exits with status 75. A process with nothing
to save exits with that status at once. A second signal ends every process at once, but for SIGHUP,
which a terminal and its shell may both send.

Nothing heavy is imported at the top, so that commands can handle signals while they import JAX.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = [
    'STATUS',
    'Preempted',
    'blocked',
    'exit_when_told_to_stop',
    'noting',
    'pass_interrupt_on',
]

# Exit status of a process that the same command continues (EX_TEMPFAIL of sysexits.h).
STATUS = 75

# Of these the second ends the process.
_INSISTENT = (signal.SIGINT, signal.SIGTERM)
_SIGNALS = (*_INSISTENT, signal.SIGHUP)


class Preempted(Exception):
    """The run received a stop signal and has saved a checkpoint."""


def exit_when_told_to_stop() -> None:
    """Makes stop signals end this process at once, with one line and `STATUS`."""
    if not any(thread.name == _listen.__name__ for thread in threading.enumerate()):
        pipe, signals = os.pipe()
        os.set_blocking(signals, False)
        signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
        threading.Thread(target=_listen, args=(pipe,), name=_listen.__name__, daemon=True).start()
    _handle(_ending)


def pass_interrupt_on() -> None:
    """Turns the first SIGINT or SIGHUP into SIGTERM, which JAX shares with all processes of a run.

    The second SIGINT ends this process at once.
    """

    def pass_on(*_):
        _handle(signal.SIG_DFL, [signal.SIGINT])
        _handle(_nothing, [signal.SIGHUP])
        os.kill(os.getpid(), signal.SIGTERM)

    _handle(pass_on, [signal.SIGINT, signal.SIGHUP])


@contextlib.contextmanager
def noting() -> Iterator[Callable[[int], bool]]:
    """Yields `should_stop(step)`, which returns True if the run is to save and stop.

    Call it after each step with the number of finished steps. Several processes stop at the same
    step, soon after the first signal to any of them. Until then a second SIGTERM has no effect
    there, because JAX handles it.

    Raises:
      Preempted: on leaving the context after a signal.
    """
    # Imported here for the reason in the module's docstring.
    import jax
    from jax.experimental import multihost_utils

    alone = jax.process_count() == 1
    noted: list[bool] = []
    before: dict[int, Any] = {}

    def note(*_):
        noted.append(True)
        _handle(signal.SIG_DFL, _INSISTENT)
        if not alone:
            # It would be passed on as a SIGTERM, of which the second ends the process.
            _handle(_nothing, [signal.SIGHUP])

    def should_stop(step: int) -> bool:
        if not alone and multihost_utils.reached_preemption_sync_point(step):
            note()
        # Until the first step is finished there is nothing to save.
        if alone and not before:
            before.update(_handle(note))
        return bool(noted)

    try:
        yield should_stop
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)
        if not alone and not noted:
            # JAX still handles SIGTERM, but nothing asks it after the last step.
            exit_when_told_to_stop()
    if noted:
        raise Preempted('told to stop after the last step')


@contextlib.contextmanager
def blocked(signals: Iterable[int]) -> Iterator[None]:
    """Blocks signals for the whole life of the processes that this thread starts in the context."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(handler: Callable | signal.Handlers, numbers=_SIGNALS) -> dict:
    """Sets a handler and returns the earlier ones; an ignored signal (nohup) stays ignored."""
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


def _nothing(*_) -> None:
    """The handler of a signal that has done its work. Ignored, it would stay so in children."""


def _ending(*_) -> None:
    """The handler of a process with nothing to save: `_listen` does the work."""


def _listen(pipe: int) -> None:
    """Ends the process on a stop signal, in a thread of its own.

    Python calls handlers only between bytecodes of the main thread, which may compile for minutes.
    """
    count = 0
    while True:
        number = os.read(pipe, 1)[0]
        count += number in (_INSISTENT if count else _SIGNALS)
        if count > 1 or (count and signal.getsignal(number) is _ending):
            name = signal.Signals(number).name
            text = f'error: told to stop ({name}); the same command goes on or starts again\n'
            # On a terminal the line starts below the progress bar.
            text = f'\n{text}' if os.isatty(2) else text
            # The terminal, or the reader of the pipe, may have ended before.
            with contextlib.suppress(OSError):
                os.write(2, text.encode())
            # An exception could be caught and lost by the code that it interrupts.
            os._exit(STATUS)
