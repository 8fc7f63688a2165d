"""The config files that come with the package, found by name."""

from pathlib import Path

from contrastive_jax.errors import UserError

__all__ = ['check_config_files', 'config_file', 'with_config_files']

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


def check_config_files(arguments: list[str]) -> None:
    """Raises UserError if `--config` of a command line names no file."""
    for before, argument in zip(['', *arguments], arguments, strict=False):
        flag, equals, value = argument.partition('=')
        spec = value if equals and flag in _FLAGS else argument if before in _FLAGS else None
        if spec is None:
            continue
        path = spec.partition(':')[0]
        if not path:
            raise UserError('--config: is empty; give a file')
        if not Path(path).is_file():
            names = sorted({file.stem for folder in _FOLDERS for file in folder.glob('[a-z]*.py')})
            raise UserError(
                f'--config={spec}: no such file; give a path, or one of {", ".join(names)}'
            )
