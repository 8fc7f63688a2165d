"""Checks before the work that `--out` can be written."""

import errno
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import listed

__all__ = ['check_out', 'make_folder', 'picture_suffixes']

# Files that a message names.
_NAMED = 3


def check_out(
    out: Path,
    *,
    names: Collection[str] = (),
    suffixes: Collection[str] = (),
    overwrite: bool = False,
    flag: str = 'out',
) -> None:
    """Checks that a command will be able to write what it is asked to write.

    Args:
      out: a folder, which need not exist, or a file in an existing folder.
      names: files that will be written into the folder; empty if `out` is a file.
      suffixes: suffixes that the file may have, such as `.json`.
      overwrite: whether files of these names may be replaced.
      flag: the flag that names the folder or file.

    Raises:
      UserError: no parent folder, a file instead of a folder or a folder instead of a file, an
        unknown suffix, no permission, or a file that would be overwritten.
    """
    where = f'--{flag}={str(out)!r}'
    try:
        if names:
            _check_folder(out, names, overwrite, where, flag)
        else:
            _check_file(out, suffixes, overwrite, where, flag)
    except OSError as error:
        raise UserError(
            f'{where}: cannot be written ({error.strerror}); give another --{flag}'
        ) from error


def make_folder(out: Path, names: Collection[str]) -> None:
    """Makes the folder, and removes files of these names, so that no earlier one stays in it."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        # Of a link, only the link is removed.
        (out / name).unlink(missing_ok=True)


def picture_suffixes() -> tuple[str, ...]:
    """Suffixes of the pictures that matplotlib writes by itself."""
    from matplotlib.backend_bases import FigureCanvasBase

    # PGF needs LaTeX, and no program opens the raw formats.
    formats = FigureCanvasBase.get_supported_filetypes().keys() - {'pgf', 'raw', 'rgba'}
    return tuple(sorted(f'.{name}' for name in formats))


def _check_folder(
    out: Path, names: Collection[str], overwrite: bool, where: str, flag: str
) -> None:
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(f'{where}: cannot be written: it is a file; give a folder')
    # A new folder needs an existing one that can be written to.
    nearest = out
    while not _exists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f'{where}: cannot be written: {str(nearest)!r} is a file; give a folder')
    _try_to_write(nearest)
    taken = [name for name in names if os.path.lexists(out / name)]
    folders = [name for name in taken if (out / name).is_dir() and not (out / name).is_symlink()]
    if folders:
        raise UserError(f'{where}: {", ".join(folders)} in it is a folder; give another --{flag}')
    if taken and not overwrite:
        raise UserError(
            f'{where}: holds {listed(taken, most=_NAMED)} already; replace them with --overwrite, '
            f'or give another --{flag}'
        )


def _check_file(
    out: Path, suffixes: Collection[str], overwrite: bool, where: str, flag: str
) -> None:
    if out.is_dir():
        raise UserError(f'{where}: cannot be written: it is a folder; give a file')
    if out.suffix.lower() not in suffixes:
        raise UserError(f'{where}: must end in {", ".join(suffixes)}')
    if not out.parent.is_dir():
        problem = 'is a file' if _exists(out.parent) else 'does not exist; make it'
        raise UserError(f'{where}: {str(out.parent)!r} {problem}, or give another --{flag}')
    _try_to_write(out.parent)
    # The file is first written under a longer name, which the file system must allow.
    _exists(out.with_name(f'{out.name}.01234567.part'))
    if _exists(out) and not overwrite:
        raise UserError(
            f'{where}: exists already; replace it with --overwrite, or give another --{flag}'
        )


def _exists(path: Path) -> bool:
    """Whether there is a file, folder or broken link; raises OSError if that cannot be known."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    return True


def _try_to_write(folder: Path) -> None:
    # Permissions are not enough: disks may be full or read-only, and root may do everything.
    with tempfile.TemporaryFile(dir=folder):
        pass
