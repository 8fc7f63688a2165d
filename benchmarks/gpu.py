"""Measures all that `docs/gpu.md` asks of a GPU, in about eight minutes.

    python -m benchmarks.gpu --peer .venv-peer/bin/python --json gpu.json

Each part is a command of its own with a limit on its time. Results measured before the limit are
kept, and the file is written after each part. The limits together are eight minutes. Of several
GPUs the first is measured. Without a GPU nothing is measured, unless `--toy` asks for a trial of
the commands at a small size.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.sides import one_gpu
from contrastive_jax.runtime.files import read_json, write_json


class Part(NamedTuple):
    """A benchmark, its arguments, those of the toy, and the seconds that it may take."""

    module: str
    arguments: str
    toy: str
    limit: float
    beside_peer: bool = False


PARTS = {
    'shares': Part(
        'shares',
        '--config configs/cifar.py --batch 512',
        '--config configs/digits.py --shape 8 8 1 --batch 16 --rounds 1',
        80,
    ),
    'end to end': Part(
        'end_to_end',
        '--width 64 64 --batch 512 1024 --steps 20',
        '--width 4 --batch 16 --steps 1 --rounds 1',
        150,
        beside_peer=True,
    ),
    'loss': Part(
        'loss',
        '--images 1024 4096 16384 65536 --most_gib 20',
        '--images 16 --rounds 1',
        95,
        beside_peer=True,
    ),
    'graph': Part('graph', '--sizes 50000 --sas', '--sizes 64 --sas --rounds 1', 25),
    'large graph': Part(
        'graph', '--sizes 1000000 --sas --rounds 1', '--sizes 96 --sas --rounds 1', 130
    ),
}


_FIND_LIMIT = 60
_FIND = """
import jax, platform, sys
device, versions = jax.devices()[0], f'JAX {jax.__version__}, Python {platform.python_version()}'
print(f'{versions}: {device.platform}, {device.device_kind}')
sys.exit(device.platform != 'gpu')
"""


def _environment() -> dict[str, str]:
    """Environment of a part: one GPU, in whose memory both sides of a comparison must fit."""
    return {**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', **one_gpu()}


def check_device() -> None:
    """Exits within a minute if JAX finds no GPU."""
    # In a process of its own, which leaves the whole memory of the device to the parts.
    command = [sys.executable, '-c', _FIND]
    try:
        found = subprocess.run(command, env=_environment(), timeout=_FIND_LIMIT).returncode == 0
    except subprocess.TimeoutExpired:
        sys.exit(f'JAX did not start within {_FIND_LIMIT} s: see what nvidia-smi says')
    if not found:
        sys.exit(
            'JAX finds no GPU: install the build for CUDA (docs/gpu.md), see what nvidia-smi says, '
            'or try the commands at a small size with --toy'
        )


def run(command: list[str], limit: float) -> bool:
    """Runs a command for so many seconds at most; says whether it ended well by itself."""
    with subprocess.Popen(command, env=_environment()) as process:
        try:
            return process.wait(limit) == 0
        except subprocess.TimeoutExpired:
            # Interrupted, it ends the processes that it has started.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            return False


def main(arguments: list[str] | None = None) -> None:
    """Runs the parts, and writes what they wrote as one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--peer', help='Python of the environment of peer/setup.sh')
    parser.add_argument('--json', help='file to write')
    parser.add_argument('--toy', action='store_true')
    options = parser.parse_args(arguments)
    if not options.toy:
        check_device()
    results: dict[str, dict] = {}
    if options.json and Path(options.json).exists():
        sys.exit(f'--json={options.json}: exists; give another name, or delete it')
    if options.json:
        # A path that cannot be written is found before anything is measured.
        write_json(Path(options.json), results)
    with tempfile.TemporaryDirectory() as folder:
        for name, part in PARTS.items():
            file = Path(folder) / f'{name}.json'
            command = [sys.executable, '-m', f'benchmarks.{part.module}', '--json', str(file)]
            command += (part.toy if options.toy else part.arguments).split()
            if options.peer and part.beside_peer:
                command += ['--peer', options.peer]
            print(f'\n{name}: at most {part.limit:.0f} s', flush=True)
            ended = run(command, part.limit)
            results[name] = read_json(file) if file.exists() else {}
            results[name]['ended'] = ended
            if not ended:
                print(f'{name}: cut off, or failed')
            # Now, because whoever lends the machine may end all of this at any time.
            if options.json:
                write_json(Path(options.json), results)


if __name__ == '__main__':
    main()
