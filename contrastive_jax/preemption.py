"""Being told to stop: SIGTERM, from Slurm, from spot machines, before maintenance.

The first one saves and ends the process with a status that says "again"; a second one kills it.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

__all__ = ['STATUS', 'Preempted', 'leaving', 'noting']

# Exit status of a process that the same command continues (EX_TEMPFAIL of sysexits.h).
STATUS = 75


class Preempted(Exception):
    """The run was told to stop, and has saved where it is."""


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """While there is nothing to save, a process that is told to stop ends at once."""

    def leave(*_):
        # No exception: raised in between anything, it could be lost.
        os.write(2, b'\nerror: told to stop; the same command goes on from the newest checkpoint\n')
        os._exit(STATUS)

    with _handling(leave):
        yield


@contextlib.contextmanager
def noting() -> Iterator[Callable[[int], bool]]:
    """Yields a function of the steps taken: whether to save now and raise `Preempted`.

    Many processes have to ask after every step: they stop at the same one, soon after the first of
    them was told. Until then a second signal does nothing there, for JAX listens to it.
    """
    told = []

    def note(*_):
        told.append(True)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def agreed(step: int) -> bool:
        if jax.process_count() == 1:
            return bool(told)
        if multihost_utils.reached_preemption_sync_point(step):
            note()
        return bool(told)

    with _handling(note):
        yield agreed
    if told:
        raise Preempted('told to stop after the last step')


@contextlib.contextmanager
def _handling(handler: Callable) -> Iterator[None]:
    if jax.process_count() > 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        # After the first signal the next one kills, whoever listened before.
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, before)
