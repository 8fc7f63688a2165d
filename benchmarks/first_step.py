"""What a run does up to its second step, with the seconds of each phase, as one line of JSON.

    python -m benchmarks.first_step configs/digits.py

`benchmarks.startup` starts it. All imports are inside, because they are the first phase.
"""

import json
import sys
import tempfile
import time
from pathlib import Path


def phases(name: str) -> dict[str, float]:
    """Seconds of each phase, in their order."""
    marks = {'': time.perf_counter()}

    def mark(phase: str, ready: object = None) -> None:
        if ready is not None:
            jax.block_until_ready(ready)
        marks[phase] = time.perf_counter()

    import jax

    from contrastive_jax import main
    from contrastive_jax.config import resolve
    from contrastive_jax.config.files import load_config
    from contrastive_jax.runtime.compilation import keep_programs
    from contrastive_jax.training import devices, loop
    from contrastive_jax.training.setup import set_up

    mark('imports')
    keep_programs()
    config, _ = resolve(load_config(name))
    dataset = main.sources.load(config.data)
    construction = main.construct(config, dataset.pretrain)
    split = construction.split
    mark('data')
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        main.claim_workdir(workdir, config, construction, held_out=dataset.held_out)
        steps_per_epoch = len(split.images) // config.batch_size
        moments = loop.moments_of(workdir, split)
        setup = set_up(config, moments, steps_per_epoch, devices.AXIS)
        state = devices.replicate(setup.initial)
        mark('first state', state)
        main.make_monitor(config, dataset, construction, workdir)(setup.graphdef, state)
        mark('monitor')
    step = devices.map_over_devices(setup.step)
    batches = loop._batches(config, split, range(2))
    for phase in ('first step', 'second step'):
        state, metrics = step(state, next(batches))
        mark(phase, metrics)
    times = list(marks.values())
    return {
        phase: after - before
        for phase, before, after in zip(list(marks)[1:], times, times[1:], strict=False)
    }


if __name__ == '__main__':
    print(json.dumps(phases(sys.argv[1])))
