"""From command to first step: seconds of each phase, each turn in a process of its own.

    python -m benchmarks.startup --config configs/digits.py --json out.json

The first turn fills the cache of compiled programs and is not counted. `python` is the start of
Python itself, and its end.
"""

import json
import subprocess
import sys
import time
from statistics import median

from benchmarks import measure


def turn(config: str) -> dict[str, float]:
    """Seconds of each phase of one start."""
    began = time.perf_counter()
    command = [sys.executable, '-m', 'benchmarks.first_step', config]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    whole = time.perf_counter() - began
    found = json.loads(done.stdout.splitlines()[-1])
    return {'python': whole - sum(found.values()), **found}


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, measures and prints."""
    parser = measure.options(__doc__)
    parser.add_argument('--config', default='configs/digits.py', help='file, with :variant')
    options = parser.parse_args(arguments)
    report = measure.Report('startup', options.json)
    turns = [turn(options.config) for _ in range(options.rounds + 1)][1:]
    for phase in turns[0]:
        seconds = [found[phase] for found in turns]
        report.add(
            phase=f'{phase:20}', seconds=median(seconds), least=min(seconds), most=max(seconds)
        )


if __name__ == '__main__':
    main()
