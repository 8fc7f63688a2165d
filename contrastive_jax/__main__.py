"""All commands under one name: `contrastive-jax COMMAND`, or `python -m contrastive_jax COMMAND`.

contrastive-jax main --config=digits --workdir=runs/digits
"""

import importlib.util
import runpy
import signal
import sys

from contrastive_jax.runtime.preemption import exit_when_told_to_stop

__all__ = ['main']

_COMMANDS = (
    'main', 'score', 'bounds', 'report', 'probe', 'views', 'verify', 'export', 'atlas', 'config',
)  # fmt: skip


def main() -> None:
    """Runs the module of the command that the first argument names."""
    exit_when_told_to_stop()
    command = sys.argv[1] if len(sys.argv) > 1 else ''
    if command in ('-h', '--help', '--helpfull'):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(f'{__doc__}\nCommands: {", ".join((*_COMMANDS, "sweep"))}. Each has --help.')
        return
    if command not in (*_COMMANDS, 'sweep'):
        words = 'no command' if not command else f'{command}: no such command'
        sys.exit(f'error: {words}; give one of {", ".join(_COMMANDS)}, sweep')
    module = _sweep() if command == 'sweep' else f'contrastive_jax.{command}'
    # As `python -m` does it: the module reads its flags from the rest.
    del sys.argv[1]
    runpy.run_module(module, run_name='__main__', alter_sys=True)


def _sweep() -> str:
    """Where the grids are: in the package or, in a checkout, beside it."""
    packaged = importlib.util.find_spec('contrastive_jax.launch')
    return 'contrastive_jax.launch.sweep' if packaged else 'launch.sweep'


if __name__ == '__main__':
    main()
