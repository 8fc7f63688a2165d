"""What the commands share: flags in, one clear line out when something is wrong."""

import sys
from collections.abc import Callable

from absl import app, flags, logging

from contrastive_jax.errors import UserError

__all__ = ['run']


def run(command: Callable[[], None]) -> None:
    """Parses the flags and runs a command; a UserError becomes one line and exit status 1."""
    app.run(lambda _: _guarded(command), flags_parser=_parse_flags)


def _guarded(command: Callable[[], None]) -> None:
    # Libraries log every step that they take at the level of information.
    logging.set_verbosity(logging.WARNING)
    try:
        command()
    except UserError as error:
        sys.exit(f'error: {error}')


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parses the flags; a wrong one ends the program with one line, as in the config."""
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        sys.exit(f'error: {_first_line(error)}')
    # What ml_collections raises for a field, a value or a config file that is not there.
    except (AttributeError, KeyError, TypeError, ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {_first_line(error)}')
    if len(rest) > 1:
        sys.exit(f'error: unexpected argument {rest[1]!r}; flags are written --name=value')
    return rest


def _first_line(error: Exception) -> str:
    return ' '.join(str(error).strip('"\'').split())
