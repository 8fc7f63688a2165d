"""What the studies write, and how their commands end."""

from collections.abc import Callable
from pathlib import Path

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.shell import expand_home

__all__ = ['as_path', 'check_new', 'command']


def command(main: Callable[[], None]) -> None:
    """Runs a study; what the user can mend is one line."""
    try:
        main()
    except UserError as error:
        # The commands whose errors these are call a run --workdir; not every study does.
        raise SystemExit(f'error: {str(error).removeprefix("--workdir=")}') from error
    except FileNotFoundError as error:
        raise SystemExit(f'error: {error.filename}: no such file or folder') from error


def as_path(text: str) -> Path:
    """A path of the command line, in which `~` is the home folder."""
    return Path(expand_home(text))


def check_new(*paths: Path) -> None:
    """Makes the folders of the files; exits if a file is there, which is not to be replaced."""
    for path in paths:
        if path.exists():
            raise SystemExit(f'--out: {path} exists; give another name, or delete it')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SystemExit(
                f'--out: {path} cannot be written ({error.strerror}); give another name'
            ) from error
