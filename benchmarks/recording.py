"""What logging of every step costs: the training loop with metrics log, watch and bar, and bare.

    python -m benchmarks.recording --steps 40 --json out.json

Both loops run in turn, so many steps each. The noise of a step may be larger than the cost. So both
also run with a step that only returns metrics, and `added` is the difference of these two, all
that the host does, over the real step.
"""

import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import measure, steps
from contrastive_jax.data.batches import split_over_devices
from contrastive_jax.runs.logs import MetricsLog
from contrastive_jax.training import devices
from contrastive_jax.training.recorder import Recorder
from contrastive_jax.training.setup import set_up
from contrastive_jax.training.watch import WATCHED, Check, Watch

# Of the step that does nothing: so many that opening the log does not count.
_HOST_STEPS = 1000


class Loops:
    """The loop of `training.loop`, with what it records and without."""

    def __init__(self, config, batch):
        """Takes one step, for metrics."""
        setup = set_up(
            config, steps.moments(batch.images.shape[-1]), steps.STEPS_PER_EPOCH, devices.AXIS
        )
        self._config = config
        batch = devices.split(split_over_devices(batch, jax.device_count()))
        # A step; its metrics need not be ready.
        self.train = partial(steps.on_all_devices(setup), batch)
        self._metrics = self.train()

    def nothing(self):
        """Metrics of an old step."""
        return self._metrics

    def bare(self, work, count: int) -> None:
        """A number of steps, without a record."""
        for _ in range(count):
            metrics = work()
        jax.block_until_ready(metrics)

    def recorded(self, work, count: int) -> None:
        """A number of steps, each logged, watched and shown."""
        images = steps.STEPS_PER_EPOCH * self._config.batch_size
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder)
            watch = Watch(Check(self._config, images, workdir), WATCHED)
            log = MetricsLog(workdir, 0)
            rates = np.zeros(count, np.float32)
            recorder = Recorder(log, self._config.batch_size, steps.STEPS_PER_EPOCH, rates)
            with closing(recorder), tqdm(range(count), 'train', disable=False) as progress:
                for step in progress:
                    metrics = work()
                    recorder.add(step + 1, metrics, progress)
                    watch.add(step + 1, metrics)
                recorder.write_all()
                watch.check_all()


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    parser.add_argument('--shape', type=int, nargs=3, default=[8, 8, 1])
    parser.add_argument('--steps', type=int, default=40, help='a turn')
    options = parser.parse_args(arguments)
    report = measure.Report('recording', options.json)
    config = steps.load_config(options.config)
    loops = Loops(config, steps.noise(config.batch_size, options.shape))
    count = options.steps
    times = measure.alternate(
        {
            'bare': measure.timed(lambda: loops.bare(loops.train, count)),
            'recorded': measure.timed(lambda: loops.recorded(loops.train, count)),
            'host, bare': measure.timed(lambda: loops.bare(loops.nothing, _HOST_STEPS)),
            'host, recorded': measure.timed(lambda: loops.recorded(loops.nothing, _HOST_STEPS)),
        },
        options.rounds,
    )
    each = {
        name: [seconds / (_HOST_STEPS if 'host' in name else count) for seconds in taken]
        for name, taken in times.items()
    }
    host = [
        recorded - bare
        for recorded, bare in zip(each['host, recorded'], each['host, bare'], strict=True)
    ]
    report.add(
        config=options.config,
        step_seconds=median(each['bare']),
        recorded_over_bare=measure.ratio(times['recorded'], times['bare']),
        host_seconds=median(host),
        added=measure.ratio(host, each['bare']),
    )


if __name__ == '__main__':
    main()
