"""What the commands share: flags in, one clear line out when something is wrong."""

import errno
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from contrastive_jax import compilation
from contrastive_jax.config import check_field, resolve, validate
from contrastive_jax.errors import UserError
from contrastive_jax.preemption import STATUS, Preempted

__all__ = ['check_out', 'config_of_flags', 'run']

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def run(command: Callable[..., None], *, positional: bool = False) -> None:
    """Parses the flags and runs a command; a UserError becomes one line and exit status 1.

    Args:
      command: called with the arguments that are no flags, as texts.
      positional: whether there may be any.
    """
    app.run(
        lambda rest: _guarded(lambda: command(*rest[1:])),
        flags_parser=lambda arguments: _parse_flags(arguments, positional),
    )


def config_of_flags(values: flags.FlagValues = flags.FLAGS) -> tuple[ConfigDict, list[str]]:
    """The config that the command line names, its arm resolved, and lines for the user.

    Raises:
      UserError: a value that is not allowed, or fields that contradict each other.
    """
    given = config_flags.get_override_values(values['config'])
    config, words = resolve(values.config, given)
    validate(config)
    return config, words


def check_out(out: Path, names: Iterable[str]) -> None:
    """Raises UserError if the folder that `--out` names holds a file that would be written."""
    found = [name for name in names if os.path.lexists(out / name)]
    if found:
        raise UserError(
            f'--out={out}: holds {", ".join(found)} already; delete them, or give another --out'
        )


def _guarded(command: Callable[[], None]) -> None:
    compilation.keep_programs()
    # Libraries log every step that they take at the level of information.
    logging.set_verbosity(logging.WARNING)
    # Orbax logs every error that it raises too, with its traceback.
    logging.get_absl_handler().addFilter(lambda record: 'orbax' not in record.pathname)
    try:
        command()
    except UserError as error:
        sys.exit(f'error: {error}')
    except Preempted as notice:
        print(f'error: {notice}; the same command goes on from there', file=sys.stderr)
        sys.exit(STATUS)
    except Exception as error:
        if not _is_lack_of_room(error):
            raise
        print(
            f'error: {getattr(error, "filename", None) or "the disk"}: no space left; make room, '
            'and the same command goes on from the newest checkpoint',
            file=sys.stderr,
            flush=True,
        )
        # Not by way of Python's own end, where writers that have not heard of it yet would abort.
        os._exit(1)


def _is_lack_of_room(error: Exception) -> bool:
    """Whether the disk was full, by Python's error or by those of TensorStore, which is a text."""
    full = os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)
    return getattr(error, 'errno', None) in _NO_ROOM or any(text in str(error) for text in full)


def _parse_flags(arguments: list[str], positional: bool) -> list[str]:
    """Parses the flags; a wrong one ends the program with one line, as a wrong config does."""
    try:
        for argument in arguments[1:]:
            if argument.startswith('--config.'):
                check_field(argument.removeprefix('--config.').partition('=')[0])
        rest = flags.FLAGS(arguments)
        if len(rest) > 1 and not positional:
            raise UserError(f'unexpected argument {rest[1]!r}; flags are written --name=value')
        # A config file that cannot be loaded is an error only once its values are asked for.
        if 'config' in flags.FLAGS and flags.FLAGS.config is not None:
            flags.FLAGS.config.keys()
    # UserError, absl's own, and what ml_collections raises for fields, values and files.
    except (
        flags.Error,
        AttributeError,
        KeyError,
        OverflowError,
        TypeError,
        ValueError,
        OSError,
    ) as error:
        sys.exit(f'error: {_one_line(error)}')
    return rest


def _one_line(error: Exception) -> str:
    """The message without the traceback that a failing config file brings in its text."""
    text = str(error)
    if 'Traceback' in text:
        text = text.strip().splitlines()[-1].partition(': ')[2]
    return ' '.join(text.split())
