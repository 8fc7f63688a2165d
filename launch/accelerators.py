"""Gives each run on this machine GPUs of its own."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

__all__ = ['describe', 'gpus', 'variables']

_VISIBLE = 'CUDA_VISIBLE_DEVICES'


def gpus(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Names of the GPUs that a run may use: those of `CUDA_VISIBLE_DEVICES`, or all."""
    if _VISIBLE in environ:
        names = (name.strip() for name in environ[_VISIBLE].split(','))
        return tuple(name for name in names if name and name != '-1')
    try:
        listed = subprocess.run(
            ['nvidia-smi', '--list-gpus'], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if listed.returncode:
        return ()
    # The slices of a GPU in MIG mode are indented lines below its own.
    return tuple(re.findall(r'^GPU (\d+):', listed.stdout, re.MULTILINE))


def variables(slot: int, names: Sequence[str], jobs: int) -> dict[str, str]:
    """Environment of the run in a slot, if there are several runs at a time.

    JAX takes most of the memory of a GPU when it starts; runs that share one must not.

    Args:
      slot: number of the run among those at a time, from 0.
      names: the GPUs.
      jobs: number of runs at a time.
    """
    if not names or jobs == 1:
        return {}
    # As many for each run: the number of devices decides what a batch may be, and the pace.
    own = names[slot::jobs][: len(names) // jobs] or [names[slot % len(names)]]
    shared = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'} if jobs > len(names) else {}
    return {_VISIBLE: ','.join(own), **shared}


def describe(names: Sequence[str], jobs: int) -> str:
    """A line that says how the runs share the GPUs; empty if there is nothing to share."""
    if not names or jobs == 1:
        return ''
    if jobs > len(names):
        gpus = '1 GPU' if len(names) == 1 else f'{len(names)} GPUs'
        return f'{jobs} runs at a time share {gpus}, and set no memory aside'
    each, idle = divmod(len(names), jobs)
    rest = f'; {idle} of {len(names)} stay idle' if idle else ''
    return f'{jobs} runs at a time have {each} GPU{"" if each == 1 else "s"} each, their own{rest}'
