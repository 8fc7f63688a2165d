"""Runs `contrastive_jax.main` until the machine is taken away at a chosen place.

python -m tests.faults.dying PLACE COUNT [flags of contrastive_jax.main]

Dies the COUNT-th time that it comes to PLACE, one of PLACES; at `slow_data` it only takes its time.
"""

import os
import runpy
import signal
import sys
import threading
import time

from contrastive_jax import evaluation
from contrastive_jax.data import sources
from contrastive_jax.runs import checkpoints, logs, names
from contrastive_jax.runtime import files
from contrastive_jax.training import devices

PLACES = ('checkpoint', 'log', 'compile', 'step', 'probe', 'seal', 'result')


def _die(after: float = 0.0) -> None:
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    if after:
        threading.Timer(after, kill).start()
    else:
        kill()


def _at(count: int, function, dying):
    """The function, but that `dying` is called instead the `count`-th time."""
    calls = []

    def counted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == count:
            return dying(*arguments, **keywords)
        return function(*arguments, **keywords)

    return counted


def _plan(place: str, count: int) -> None:
    if place == 'checkpoint':
        save = checkpoints.Checkpoints.save

        def half_saved(*arguments):
            # While it is written in the background; how far it gets differs from time to time.
            _die(after=0.001 * count)
            save(*arguments)

        checkpoints.Checkpoints.save = _at(count, save, half_saved)
    elif place == 'log':

        def half_a_line(log):
            log._file.write(b'{"step": 1')
            log._file.flush()
            _die()

        logs.MetricsLog.flush = _at(count, logs.MetricsLog.flush, half_a_line)
    elif place in ('compile', 'step'):
        mapped = devices.map_over_devices

        def map_over_devices(step):
            function = mapped(step)

            def dying(*arguments):
                _die(after=0.1 * (place == 'compile'))
                return function(*arguments)

            return _at(1 if place == 'compile' else count, function, dying)

        devices.map_over_devices = map_over_devices
    elif place == 'slow_data':

        def slowly(config):
            print('reading', flush=True)
            time.sleep(100)

        sources.load = slowly
    elif place == 'probe':
        evaluation.probe = _at(count, evaluation.probe, lambda *_, **__: _die())
    else:
        name = {'seal': files.SUMS, 'result': names.RESULT}[place]
        write = files.write_whole

        def write_whole(path, content):
            if path.name == name:
                path.with_name(f'{name}.01234567.part').write_text('{"half"')
                _die()
            write(path, content)

        files.write_whole = write_whole


if __name__ == '__main__':
    _, where, times, *rest = sys.argv
    _plan(where, int(times))
    sys.argv = ['contrastive_jax.main', *rest]
    runpy.run_module('contrastive_jax.main', run_name='__main__', alter_sys=True)
