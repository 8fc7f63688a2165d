"""Prints the config fields: default, allowed values and meaning.

python -m contrastive_jax.config
python -m contrastive_jax.config monitor moco
"""

import argparse
import re
import signal
import sys
import textwrap
from collections.abc import Sequence

from contrastive_jax.config import FIELDS
from contrastive_jax.config.values import nearest_field
from contrastive_jax.errors import UserError

__all__ = ['describe']

_WIDTH = 100


def describe(parts: Sequence[str] = ()) -> str:
    """The fields as text, in the order of the table.

    Args:
      parts: only fields whose path contains one of these or, if there is none, whose meaning does;
        none for all fields.

    Returns:
      The path, default, meaning and allowed values of each field, over several lines.

    Raises:
      UserError: no path and no meaning contains one of the parts.
    """
    parts = [part.removeprefix('config.') for part in parts]
    paths = [path for path in FIELDS if not parts or any(part in path for part in parts)]
    if not paths:
        begins = re.compile('|'.join(rf'\b{re.escape(part)}' for part in parts), re.IGNORECASE)
        paths = [path for path, field in FIELDS.items() if begins.search(field.meaning)]
    if not paths:
        raise UserError(
            f'{" ".join(parts)}: no field has this in its path or its meaning; the nearest is '
            f'config.{nearest_field(parts[0])}; without an argument all are listed'
        )
    return '\n'.join(_entry(path) for path in paths)


def _entry(path: str) -> str:
    default, rule, meaning, _ = FIELDS[path]
    lines = textwrap.wrap(
        f'{meaning} Allowed: {rule.allowed}.',
        _WIDTH,
        initial_indent='    ',
        subsequent_indent='    ',
        break_on_hyphens=False,
    )
    return '\n'.join([f'config.{path}={default!r}', *lines])


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m contrastive_jax.config', description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        'parts', nargs='*', help='only fields whose path, or else meaning, contains one of these'
    )
    # `head` may leave early, and then this ends as other programs do.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        print(describe(parser.parse_args().parts))
    except UserError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    _main()
