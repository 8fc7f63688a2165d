"""What a look of the monitor costs, as a share of the epochs between two looks.

    python -m benchmarks.monitor --config configs/digits.py --json out.json
    python -m benchmarks.monitor --config configs/cifar.py:small --data_dir DIR

Steps and looks take turns on the data of the config, with its batch size and on all devices. A step
is timed without its loader, so a run that waits for data spends a smaller share on the monitor.
`compile` is the time of the first look, once for a config: later starts read it from the cache.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import jax

from benchmarks import measure, steps
from contrastive_jax.config import resolve
from contrastive_jax.data import sources
from contrastive_jax.data.batches import make_batch, step_indices
from contrastive_jax.data.constructions import construct
from contrastive_jax.evaluation.monitor import check_monitor, make_monitor
from contrastive_jax.models import compute_dtype, pixel_moments
from contrastive_jax.runs.names import CONFIG
from contrastive_jax.training import devices
from contrastive_jax.training.setup import set_up


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    parser.add_argument('--data_dir', default=None)
    parser.add_argument('--every', type=int, default=None, help='instead of that of the config')
    parser.add_argument('--images', type=int, default=None, help='instead of those of the config')
    options = parser.parse_args(arguments)
    config = steps.load_config(options.config)
    if options.data_dir:
        config.data.data_dir = options.data_dir
    monitor = config.monitor
    monitor.every_epochs = options.every or monitor.every_epochs or 1
    monitor.images = options.images or monitor.images
    config, _ = resolve(config)
    report = measure.Report('monitor', options.json, compute_dtype(config.precision))
    report.add(**_row(config, options.rounds))


def _row(config, rounds: int) -> dict:
    dataset = sources.load(config.data)
    construction = construct(config, dataset.pretrain)
    check_monitor(config, dataset)
    split = construction.split
    n, batch_size = len(split.images), config.batch_size
    steps_per_epoch = n // batch_size
    setup = set_up(config, pixel_moments(split.images), steps_per_epoch, devices.AXIS)
    state = devices.replicate(setup.initial)
    indices = step_indices(config.seed, 0, n, batch_size)
    batch = devices.split(make_batch(split, indices, jax.local_device_count()))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_text(config.to_json())
        began = time.perf_counter()
        looks = make_monitor(config, dataset, construction, Path(folder))(setup.graphdef, state)
        compilation = time.perf_counter() - began
    step = partial(steps.on_all_devices(setup), batch)
    due = config.monitor.every_epochs * steps_per_epoch
    timers = {
        'step': measure.timed(step, calls=3),
        'look': measure.timed(partial(looks.metrics, due, state)),
    }
    times = measure.alternate(timers, rounds)
    return {
        'images': config.monitor.images,
        'every_epochs': config.monitor.every_epochs,
        'step': median(times['step']),
        'look': median(times['look']),
        'of_run': measure.ratio(times['look'], [due * seconds for seconds in times['step']]),
        'compile': compilation,
    }


if __name__ == '__main__':
    main()
