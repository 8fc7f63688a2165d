"""What shells and terminals leave to a program: home folders, and characters that they lack."""

import os
import sys

from contrastive_jax.errors import UserError

__all__ = ['escape_missing_characters', 'expand_home']


def escape_missing_characters() -> None:
    """Lets print write `\\xb1` where the terminal or the log has no such character, as ASCII."""
    for stream in (sys.stdout, sys.stderr):
        # Notebooks and tests have streams of other kinds; a closed one is None.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def expand_home(argument: str) -> str:
    """Replaces `~` and `~name` at the start of an argument, or of the value of a flag.

    Shells replace it in `--workdir ~/runs`, and most of them leave it in `--workdir=~/runs`.

    Args:
      argument: `--flag=value`, or a value.

    Raises:
      UserError: it is not known where that home folder is.
    """
    flag, equals, value = '', '', argument
    if argument.startswith('-'):
        flag, equals, value = argument.partition('=')
    if not value.startswith('~'):
        return argument
    path = os.path.expanduser(value)
    if path == value:
        raise UserError(
            f'{argument}: the home folder of this user is not known; write the whole path, or '
            './~ for a name that begins so'
        )
    return f'{flag}{equals}{path}'
