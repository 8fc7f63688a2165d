"""What a run does up to its second step, with the seconds of each phase, as one line of JSON.

    python -m benchmarks.first_step configs/digits.py

`benchmarks.startup` starts it. All imports are inside, because they are the first phase. The checks
of config, data and folder, the logs and the checkpoints of a run are left out.
"""

import gc
import itertools
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
    from contrastive_jax.data.batches import make_batch, step_indices
    from contrastive_jax.runs.images import moments_of
    from contrastive_jax.runtime.compilation import keep_programs
    from contrastive_jax.training import devices
    from contrastive_jax.training.setup import set_up

    mark('imports')
    keep_programs()
    gc.freeze()
    config, _ = resolve(load_config(name))
    dataset = main.sources.load(config.data)
    construction = main.construct(config, dataset.pretrain)
    split = construction.split
    mark('data')
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        main.claim_workdir(workdir, config, construction, held_out=dataset.held_out)
        steps_per_epoch = len(split.images) // config.batch_size
        moments = moments_of(workdir, split)
        setup = set_up(config, moments, steps_per_epoch, devices.AXIS)
        state = devices.replicate(setup.initial)
        mark('first state', state)
        main.make_monitor(config, dataset, construction, workdir)(setup.graphdef, state)
        mark('monitor')
    step = devices.map_over_devices(setup.step)
    for at, phase in enumerate(('first step', 'second step')):
        indices = step_indices(config.seed, at, len(split.images), config.batch_size)
        batch = make_batch(split, indices, jax.local_device_count())
        state, metrics = step(state, batch)
        mark(phase, metrics)
    pairs = itertools.pairwise(marks.items())
    return {phase: after - before for (_, before), (phase, after) in pairs}


if __name__ == '__main__':
    print(json.dumps(phases(sys.argv[1])))
