"""How the time of a step grows with batch, devices and image size.

    python -m benchmarks.growth --json out.json
    python -m benchmarks.growth --config configs/cifar.py:small --shape 32 32 3 --size 16 32 64

One thing grows at a time, and its sizes take turns. The exponent is the slope of log time over log
size: 1 where time is linear in the size, 2 for the side of an image, and 0 for devices, since they
share the batch and the cores of this machine. The devices are parts of one CPU, so on a GPU give
`--devices` without a number.
"""

import os
import sys
from functools import partial

import jax
import numpy as np

from benchmarks import measure, steps
from benchmarks.peer.turns import serve
from benchmarks.sides import started
from contrastive_jax.data.batches import split_over_devices
from contrastive_jax.training import devices
from contrastive_jax.training.setup import set_up


def serve_step(config, batch) -> None:
    """Reads numbers of steps, one a line, and takes them on all devices of this process."""
    setup = set_up(config, steps.moments(batch.images.shape[-1]), 10, devices.AXIS)
    batch = devices.split(split_over_devices(batch, jax.device_count()))
    serve(partial(steps.on_all_devices(setup), batch), lambda metrics: float(metrics['loss']))


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    parser.add_argument('--shape', type=int, nargs=3, default=[8, 8, 1])
    parser.add_argument('--batch', type=int, nargs='*', default=[64, 128, 256, 512, 1024])
    parser.add_argument('--size', type=int, nargs='*', default=[8, 16, 32], help='of an image')
    parser.add_argument('--devices', type=int, nargs='*', default=[1, 2, 4])
    parser.add_argument('--serve', action='store_true', help='work for another such process')
    options = parser.parse_args(arguments)
    if options.devices and jax.default_backend() != 'cpu':
        sys.exit(
            f'--devices: only a CPU can be made several, and this is a {jax.default_backend()}; '
            'give --devices without a count, or set JAX_PLATFORMS=cpu'
        )
    config = steps.load_config(options.config)
    if options.serve:
        return serve_step(config, steps.noise(config.batch_size, options.shape))

    batch, shape, channels = config.batch_size, options.shape, options.shape[-1]
    batches = {
        'batch': {size: steps.noise(size, shape) for size in options.batch},
        'size': {size: steps.noise(batch, (size, size, channels)) for size in options.size},
    }
    report = measure.Report('growth', options.json)
    for what, sizes in batches.items():
        timers = {size: _timer(config, rows) for size, rows in sizes.items()}
        _add_rows(report, what, measure.alternate(timers, options.rounds))
    _add_rows(report, 'devices', _times_of_devices(options))
    return None


def _timer(config, batch):
    config = config.copy_and_resolve_references()
    config.batch_size = len(batch.images)
    return measure.timed(steps.Step(config, batch), measure.calls_a_turn())


def _times_of_devices(options) -> dict[int, list[float]]:
    """Times of steps by the number of devices that a process has."""
    command = [sys.executable, '-m', 'benchmarks.growth', '--serve', '--config', options.config]
    command += ['--shape', *map(str, options.shape)]
    flag = '--xla_force_host_platform_device_count'
    given = os.environ.get('XLA_FLAGS', '')
    environments = {count: {'XLA_FLAGS': f'{given} {flag}={count}'} for count in options.devices}
    with started(dict.fromkeys(environments, command), environments) as sides:
        timers = {count: side.seconds for count, side in sides.items()}
        return measure.alternate(timers, options.rounds)


def _add_rows(report, what: str, times: dict[int, list[float]]) -> None:
    if not times:
        return
    sizes, medians = list(times), [np.median(taken) for taken in times.values()]
    slope = np.polyfit(np.log(sizes), np.log(medians), 1)[0] if len(sizes) > 1 else None
    for size, seconds in zip(sizes, medians, strict=True):
        report.add(
            grows=what,
            size=size,
            seconds=float(seconds),
            over_first=measure.ratio(times[size], times[sizes[0]]),
            exponent=None if slope is None else float(slope),
        )


if __name__ == '__main__':
    main()
