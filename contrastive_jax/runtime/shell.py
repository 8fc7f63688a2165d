"""Tasks that shells and terminals leave to a program: `~`, and characters they cannot print."""

import os
import sys

from contrastive_jax.errors import UserError

__all__ = ['escape_missing_characters', 'expand_home']


def escape_missing_characters() -> None:
    """Makes print write an escape such as `\\xb1` if the terminal or log lacks the character."""
    for stream in (sys.stdout, sys.stderr):
        # Notebooks and tests replace these streams; a closed stream is None.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def expand_home(argument: str) -> str:
    """Replaces `~` and `~name` at the start of an argument or of the value of a flag.

    Shells expand `--workdir ~/runs`, but most of them do not expand `--workdir=~/runs`.

    Args:
      argument: `--flag=value`, or a value.

    Returns:
      The argument with the path of the home folder; without a `~` there, the argument as it is.

    Raises:
      UserError: the home folder is not known.
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
            './~ if the name really begins with ~'
        )
    return f'{flag}{equals}{path}'
