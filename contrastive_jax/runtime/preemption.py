"""Being told to stop: by SIGTERM (Slurm, spot machines, maintenance) or by SIGINT (Ctrl-C).

A run that trains saves at its next step and ends with a status that says "again". Otherwise there
is nothing to save, and the process ends at once with that status. A second signal ends it at once.

Nothing heavy is imported at the top, so that commands can listen while they import JAX.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ['STATUS', 'Preempted', 'end_when_told', 'noting', 'pass_interrupt_on']

# Exit status of a process that the same command continues (EX_TEMPFAIL of sysexits.h).
STATUS = 75

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Preempted(Exception):
    """The run was told to stop, and has saved where it is."""


def end_when_told() -> None:
    """Makes SIGINT and SIGTERM end this process at once, with one line and `STATUS`."""
    if not any(thread.name == _listen.__name__ for thread in threading.enumerate()):
        pipe, signals = os.pipe()
        os.set_blocking(signals, False)
        signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
        threading.Thread(target=_listen, args=(pipe,), name=_listen.__name__, daemon=True).start()
    _handle(_ending)


def pass_interrupt_on() -> None:
    """Makes the first SIGINT a SIGTERM, the one signal that JAX shares with all processes of a run.

    The second SIGINT ends this process at once.
    """

    def pass_on(*_):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    _handle(pass_on, [signal.SIGINT])


@contextlib.contextmanager
def noting() -> Iterator[Callable[[int], bool]]:
    """Lets a run finish its step: yields a function that says whether to save and stop.

    The function takes the number of finished steps and is called after each step. Several processes
    all stop at the same step, soon after the first signal to any of them. Until then a second
    SIGTERM does nothing there, because JAX listens to it.

    Raises:
      Preempted: on leaving the context after a signal.
    """
    # Imported here: see the top.
    import jax
    from jax.experimental import multihost_utils

    alone = jax.process_count() == 1
    noted, before = [], {}

    def note(*_):
        noted.append(True)
        _handle(signal.SIG_DFL)

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
            # JAX keeps listening, but nobody asks it after the last step.
            end_when_told()
    if noted:
        raise Preempted('told to stop after the last step')


def _handle(handler: Callable | signal.Handlers, numbers=_SIGNALS) -> dict:
    """Sets a handler and returns the earlier ones; a signal that is ignored (nohup) stays so."""
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _ending(*_) -> None:
    """The handler of a process with nothing to save: `_listen` does the work."""


def _listen(pipe: int) -> None:
    """Ends the process when told to, in a thread of its own.

    Python calls a handler only between two steps of the main thread, which may compile for minutes.
    """
    heard = 0
    while True:
        number = os.read(pipe, 1)[0]
        heard += number in _SIGNALS
        if heard > 1 or (heard and signal.getsignal(number) is _ending):
            name = signal.Signals(number).name
            text = f'error: told to stop ({name}); the same command goes on or starts again\n'
            # On a terminal, below the progress bar.
            text = f'\n{text}' if os.isatty(2) else text
            # No exception: raised in between anything, it could be lost.
            os.write(2, text.encode())
            os._exit(STATUS)
