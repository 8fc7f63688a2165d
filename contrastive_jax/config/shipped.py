"""The config files that come with the package, found by name."""

import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from contrastive_jax.errors import UserError

__all__ = [
    'check_config_files',
    'config_file',
    'config_specs',
    'line_in_file',
    'place_in_config',
    'with_config_files',
]

_PACKAGE = Path(__file__).parents[1]
# In a wheel, and in a checkout.
_FOLDERS = _PACKAGE / 'configs', _PACKAGE.parent / 'configs'
_FLAGS = '--config', '-config'


def config_file(spec: str) -> str:
    """The file that a flag `--config` names, with its variant.

    A file that exists wins. Otherwise `digits` and `configs/digits.py` are the file of that name
    that comes with the package; any other text is returned as it is.

    Args:
      spec: path or name, with `:variant` if wanted.

    Returns:
      A path, with `:variant` if `spec` has one; or `spec` itself.
    """
    path, colon, variant = spec.partition(':')
    if not path or Path(path).is_file():
        return spec
    name = Path(path).stem
    if path in (name, f'configs/{name}.py'):
        for folder in _FOLDERS:
            if (folder / f'{name}.py').is_file():
                return f'{folder / name}.py{colon}{variant}'
    return spec


def with_config_files(arguments: list[str]) -> list[str]:
    """A command line in which `--config` holds a file."""
    expanded: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition('=')
        if equals and flag in _FLAGS:
            argument = f'{flag}={config_file(value)}'
        elif expanded and expanded[-1] in _FLAGS:
            argument = config_file(argument)
        expanded.append(argument)
    return expanded


def config_specs(arguments: list[str]) -> Iterator[str]:
    """The values of `--config` in a command line."""
    for before, argument in zip(['', *arguments], arguments, strict=False):
        flag, equals, value = argument.partition('=')
        if before in _FLAGS or (equals and flag in _FLAGS):
            yield argument if before in _FLAGS else value


def line_in_file(error: BaseException, file: str | Path) -> int | None:
    """The line of a file, such as a config, that an error comes from; None if of none."""
    path = os.path.realpath(file)
    cause: BaseException | None = error
    lines = [error.lineno] if isinstance(error, SyntaxError) else []
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        lines += [x.lineno for x in frames if os.path.realpath(x.filename) == path]
        cause = cause.__cause__ or cause.__context__
    return lines[-1] if lines else None


def place_in_config(error: Exception, arguments: list[str]) -> str:
    """The line of a config file that an error comes from, and its kind; empty if there is none."""
    for spec in config_specs(arguments):
        file = spec.partition(':')[0]
        # A message of `config_of` begins with the file.
        last = str(error).strip().rpartition('\n')[2]
        names_file = os.path.basename(file) in last and not isinstance(error, SyntaxError)
        if (line := line_in_file(error, file)) and not names_file:
            return f'{file}, line {line}: {type(error).__name__}: '
    return ''


def check_config_files(arguments: list[str]) -> None:
    """Raises UserError if `--config` of a command line names no file."""
    for spec in config_specs(arguments):
        path = spec.partition(':')[0]
        if not path:
            raise UserError('--config: is empty; give a file')
        if not Path(path).is_file():
            names = sorted({file.stem for folder in _FOLDERS for file in folder.glob('[a-z]*.py')})
            raise UserError(
                f'--config={spec}: no such file; give a path, or one of {", ".join(names)}'
            )
