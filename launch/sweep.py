r"""Runs a grid, or one config: every cell with every seed, on this machine or on Slurm.

    python -m launch.sweep --grid=table4 --config=configs/digits.py --seeds=5 --runs=runs/digits
    python -m launch.sweep --grid=table4 --config=configs/cifar.py --seeds=3 --runs=runs/cifar \
        --slurm=partition=gpu,gpus_per_node=1 -- --config.data.data_dir=DIR
    python -m launch.sweep --config=configs/digits.py --seeds=3 --runs=runs/digits

A run is named by the hash of its config, so no run is done twice, and grids share common runs. The
same command again executes the remaining runs and resumes interrupted ones. On Ctrl-C or SIGTERM
the runs save and end, and the exit status is 75.

On Slurm, a job saves and ends before its time limit, and is queued again. There are two options
beside those of sbatch: signal_delay_s=SECONDS, how long before the limit the job is asked to save
(default: 90, or a third of a shorter limit), and max_num_timeout=N, the number of limits after
which a run is given up (default: three in a row without a new checkpoint).

After -- come config fields for all cells. A margin or a temperature scale sets only the cells whose
arm has one, and a field that the grid itself varies is refused:

    python -m launch.sweep --grid=table4 --config=configs/digits.py --runs=runs/digits -- \
        --config.pairs.margin=0.2

How far the runs are, at any time and from elsewhere: python -m launch.sweep --status --runs=RUNS
The report of one grid or of all: python -m contrastive_jax.report RUNS/table4.txt
"""

import argparse
import contextlib
import fcntl
import os
import re
import shlex
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from contrastive_jax.errors import UserError
from contrastive_jax.runs.names import CELL_NAMES, LOGGERS
from contrastive_jax.runtime import preemption
from contrastive_jax.runtime.files import write_json, write_whole
from contrastive_jax.runtime.shell import escape_missing_characters, expand_home

from . import local, status
from .cells import GridError, cells_of, override, unused
from .children import on_stop
from .display import print_line
from .grids import Fields
from .planning import Run, plan

_LAST_LINES = 5
# The only cell without a grid.
_CONFIG_ALONE: dict[str, Fields] = {'config': {}}


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, executes the runs and lists failures; returns the exit status."""
    escape_missing_characters()
    parser = _parser()
    given = sys.argv[1:] if arguments is None else arguments
    before = given[: given.index('--')] if '--' in given else given
    for field in (text for text in before if text.startswith('--config.')):
        parser.error(f'{field}: fields for every cell come last, after --')
    options = parser.parse_args(arguments)
    if not (options.config or options.status):
        parser.error('the following arguments are required: --config')
    if options.jobs and options.slurm is not None:
        parser.error(
            f'--jobs={options.jobs}: is for runs on this machine, and with --slurm the queue '
            'decides how many run at a time; leave it out, or name a QOS that has a limit, as '
            '--slurm=qos=NAME'
        )
    stopped = 'stopped before any run began'
    try:
        if options.status:
            print('\n'.join(status.overview(options.runs)))
            return 0
        # Once runs have begun, signals have other handlers.
        with on_stop(_interrupt):
            runs = _planned(options)
            if options.dry_run:
                _print_commands(runs)
                return 0
            stopped = 'stopped; the same command goes on from there'
            outcomes = _run_all(runs, options)
    except GridError as error:
        print_line(f'error: {error}', sys.stderr)
        return 1
    except KeyboardInterrupt:
        print_line(f'error: {stopped}', sys.stderr)
        return preemption.STATUS
    return _summarise(outcomes, options.runs)


def _parser() -> argparse.ArgumentParser:
    """A parser with the options of a sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--grid',
        type=_home,
        help='a file of launch/grids, without .py, or the path of your own, with it (default: the '
        'config alone)',
    )
    parser.add_argument('--config', type=_home, help='config file, with :variant if wanted')
    parser.add_argument(
        '--seeds',
        type=_whole(1),
        default=5,
        help='number of seeds, counted from --first_seed (default: 5)',
    )
    parser.add_argument(
        '--first_seed',
        type=_whole(0),
        default=0,
        help='the first seed; a search has seeds that no later table uses (default: 0)',
    )
    parser.add_argument(
        '--runs', type=lambda text: Path(_home(text)), required=True, help='folder of the workdirs'
    )
    parser.add_argument(
        '--jobs',
        type=_whole(1),
        help='number of runs at a time on this machine (default: 1)',
    )
    parser.add_argument(
        '--slurm',
        metavar='OPTION=VALUE,...',
        nargs='?',
        const='',
        help='submit to Slurm, with options of sbatch such as partition=gpu,gpus_per_node=1',
    )
    parser.add_argument('--log', choices=LOGGERS, help='where each run shows its curves')
    parser.add_argument('--dry_run', action='store_true', help='only print the commands')
    parser.add_argument('--status', action='store_true', help='only say how far the runs are')
    parser.add_argument('extra', nargs='*', help='after --: --config.FIELD=VALUE for every cell')
    return parser


def _interrupt(_: int) -> None:
    """Lets SIGTERM and SIGHUP do what Ctrl-C does, so that no half of a file stays."""
    raise KeyboardInterrupt


def _planned(options) -> list[Run]:
    """The runs of the command line; unless they are only shown, they are listed in their folder."""
    extra = dict(override(text) for text in options.extra)
    cells = cells_of(options.grid) if options.grid else _CONFIG_ALONE
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = plan(cells, options.config, seeds, options.runs, extra)
    for line in unused(cells, extra):
        print_line(f'note: {line}', sys.stderr)
    if options.log:
        runs = [_logged(run, options.log) for run in runs]
    if not options.dry_run:
        with _alone(options.runs):
            _list(runs, options.runs / f'{Path(options.grid or "config").stem}.txt')
            _name(runs, options.runs / CELL_NAMES)
    return runs


def _logged(run: Run, logger: str) -> Run:
    """The run with a logger for its training, the first of its commands."""
    train, *scoring = run.commands
    return run._replace(commands=((*train, f'--log={logger}'), *scoring))


def _run_all(runs: list[Run], options) -> list[local.Outcome]:
    if options.slurm is None:
        return local.run_all(runs, options.jobs or 1)
    try:
        from . import slurm
    except ImportError as error:
        raise GridError('--slurm: needs submitit; pip install submitit') from error
    pairs = [text.partition('=') for text in options.slurm.split(',') if text]
    return slurm.run_all(runs, options.runs, {name: value for name, _, value in pairs})


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other sweeps from the lists in a folder, to which each adds its runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise GridError(f'--runs={folder}: cannot be written ({error.strerror})') from error
    try:
        # Some network file systems have no locks; `execute` warns of that.
        with contextlib.suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _check_list(path: Path, lines: list[bytes]) -> None:
    """Raises GridError for a file of somebody else's, which would be written anew."""
    for line in map(os.fsdecode, lines):
        known = re.fullmatch('[0-9a-f]{16}', Path(line).name) or os.path.isdir(line)
        if line.strip() and not known:
            raise GridError(
                f'{path}: is no list of runs (it holds {line[:60]!r}); move it away, or give '
                'another --runs'
            )


def _list(runs: list[Run], path: Path) -> None:
    """Adds the folders of the runs to the list that `report` takes."""
    try:
        # As bytes, because a path need not be text.
        known = path.read_bytes().splitlines() if path.exists() else []
        _check_list(path, known)
        planned = {os.fsencode(run.folder.name): os.fsencode(run.folder) for run in runs}
        # The folder of the runs may have been moved, or be spelled otherwise now.
        kept = [planned.get(os.path.basename(line), line) for line in known]
        folders = dict.fromkeys([*kept, *planned.values()])
        write_whole(path, lambda file: file.write(b''.join(b'%s\n' % each for each in folders)))
    except OSError as error:
        raise GridError(f'--runs={path.parent}: cannot be written ({error.strerror})') from error


def _name(runs: list[Run], path: Path) -> None:
    """Adds the cells of each run to the file in which `report` and `--status` find their names.

    For `--status` it also holds the files that each run has to make, for one grid or another.
    """
    try:
        names, makes = status.read_names(path) if path.exists() else ({}, {})
        for run in runs:
            cells = [cell for cell in run.cells if cell not in _CONFIG_ALONE]
            files = [str(made.relative_to(run.folder)) for made in run.makes]
            for table, own in ((names, cells), (makes, files)):
                known = table.get(run.folder.name, [])
                table[run.folder.name] = list(dict.fromkeys([*known, *own]))
        write_json(path, names | {status.MAKES: makes})
    except OSError as error:
        raise GridError(f'--runs={path.parent}: cannot be written ({error.strerror})') from error


def _print_commands(runs: list[Run]) -> None:
    for run in runs:
        print(f'# {run.title}{" (done)" if run.done() else ""}')
        for command in run.commands:
            print(shlex.join(command))


def _summarise(outcomes: list[local.Outcome], folder: Path) -> int:
    """Prints how many runs are done and the log end of each failure; returns the exit status."""
    done = [outcome for outcome in outcomes if not outcome.reason]
    stopped = [outcome for outcome in outcomes if outcome.stopped]
    failed = [outcome for outcome in outcomes if outcome.reason and not outcome.stopped]
    left = f'; the same command goes on with {len(stopped)}' if stopped else ''
    print_line(f'{len(done)} of {len(outcomes)} runs are done, in {folder}{left}')
    for run, reason, _ in failed:
        lines: deque[str] = deque(maxlen=_LAST_LINES)
        # The log may be the file that could not be opened.
        with contextlib.suppress(OSError), run.log.open(errors='replace') as log:
            lines.extend(line.rstrip('\n') for line in log)
        title = f'\nFAILED {run.title}: {reason}; log {run.log}'
        print_line('\n  '.join([title, *lines]))
    return preemption.STATUS if stopped else 1 if failed else 0


def _home(text: str) -> str:
    """The path with `~` expanded."""
    try:
        return expand_home(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _whole(least: int) -> Callable[[str], int]:
    """Reads a whole number that is not below `least`."""

    def read(text: str) -> int:
        if not (text.isdecimal() and int(text) >= least):
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from {least} up')
        return int(text)

    return read


if __name__ == '__main__':
    if {'--dry_run', '--status'} & set(sys.argv):
        # `head` may leave early, and then this ends as other programs do.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
