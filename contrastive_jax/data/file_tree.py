"""The image files below a folder. Links are followed; files that are no images are counted.

Hidden files and folders are left out. A link to a folder that holds the link itself is left out
too, because it leads in a circle.
"""

import contextlib
import functools
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging
from PIL import Image

from contrastive_jax.errors import UserError
from contrastive_jax.runtime import distributed
from contrastive_jax.runtime.files import listed, printable

__all__ = ['Level', 'formats', 'level', 'say_unread', 'suffixes', 'walk', 'warn_of_order']

# These formats call another program (EPS), need Windows (WMF) or a decoder that Pillow lacks.
_NOT_DECODED = {'BUFR', 'EPS', 'GRIB', 'HDF5', 'IPTC', 'MPEG', 'WMF'}
# Folders that file systems and archivers add; they count as hidden.
_ADDED = {'$RECYCLE.BIN', '@eaDir', 'System Volume Information', '__MACOSX', 'lost+found'}


class Level(NamedTuple):
    """What one folder holds, without the content of its folders.

    Attributes:
      path: path of the folder.
      folders: folders in it, sorted.
      images: image files in it.
      others: numbers of the remaining entries, by suffix; 'hidden' for hidden ones.
    """

    path: Path
    folders: list[Path]
    images: list[Path]
    others: Counter[str]


@functools.cache
def formats() -> tuple[str, ...]:
    """Names of the image formats that are read, in the order in which Pillow tries them."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_DECODED)


@functools.cache
def suffixes() -> frozenset[str]:
    """Suffixes of image files in lower case, such as `.jpg`."""
    known = {*formats(), 'MPO'}  # Pillow opens MPO as JPEG.
    return frozenset(end for end, name in Image.registered_extensions().items() if name in known)


def warn_of_order(names: Sequence[str], where: str) -> None:
    """Warns if names in alphabetic order, which belong to rows, hold numbers in another order."""
    for name, after in itertools.pairwise(names):
        if _numbers(name) > _numbers(after) and _without(name) == _without(after):
            _say_order(where, printable(name), printable(after))
            return


@functools.cache
def say_unread(names: tuple[str, ...], where: str) -> None:
    """Says once of a folder, which may be opened again, what in it is not read."""
    if distributed.is_writer():
        logging.warning(
            '%s: not read: %s; only files of features directly in the folder are',
            where,
            listed(names),
        )


@functools.cache
def _say_order(where: str, name: str, after: str) -> None:
    """Says once of a folder, which may be opened again, what its order is."""
    if distributed.is_writer():
        logging.warning(
            '%s: files are read in the order of their names, so %s comes before %s; if the numbers '
            'in the names are the order of the rows, write them with leading zeros',
            where,
            name,
            after,
        )


def _numbers(name: str) -> list[int]:
    return list(map(int, re.findall('[0-9]+', name)))


def _without(name: str) -> str:
    return re.sub('[0-9]+', '', name)


def level(folder: Path) -> Level:
    """Reads one folder.

    Raises:
      UserError: the folder cannot be read.
    """
    content = Level(folder, [], [], Counter())
    with _as_user_error(folder), os.scandir(folder) as entries:
        for entry in entries:
            _add(content, entry)
    content.folders.sort()
    return content


@contextlib.contextmanager
def _as_user_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{printable(folder)}: cannot be read ({error.strerror}); allow it, or move the folder '
            'out of the data folder'
        ) from error


def _add(content: Level, entry: os.DirEntry) -> None:
    path = content.path / entry.name
    link = entry.is_symlink()
    if entry.name.startswith('.') or entry.name in _ADDED:
        content.others['hidden'] += 1
    elif entry.is_dir(follow_symlinks=False) or (link and path.is_dir()):
        if not (link and _leads_back(path)):
            content.folders.append(path)
    elif path.suffix.lower() in suffixes() and _may_be_image(entry, path, link):
        content.images.append(path)
    elif link and not path.exists():
        content.others['broken link'] += 1
    else:
        content.others[path.suffix.lower() or 'no suffix'] += 1


def _may_be_image(entry: os.DirEntry, path: Path, link: bool) -> bool:
    """Whether an entry is a file, or a broken link, so that reading it reports the error.

    A link to a pipe is neither: whoever opens a pipe waits for a writer.
    """
    if link:
        return path.is_file() or not path.exists()
    return entry.is_file()


def _leads_back(link: Path) -> bool:
    """Whether a link leads to a folder that holds it, by its path or by its resolved path."""
    parents = [parent.resolve() for parent in link.absolute().parents]
    real = link.parent.resolve()
    return link.resolve() in {*parents, real, *real.parents}


def walk(folder: Path) -> list[Level]:
    """Reads a folder and all folders below it, each once, however many links lead to it.

    Raises:
      UserError: a folder cannot be read.
    """
    levels, seen = [], set()
    # Links come last, so that a folder below has its own path and not that of a link to it.
    folders = [folder]
    links: list[Path] = []
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        with _as_user_error(current):
            status = current.stat()
            identity = status.st_dev, status.st_ino
            if identity in seen:
                continue
            seen.add(identity)
            levels.append(level(current))
            for path in levels[-1].folders:
                (links if path.is_symlink() else folders).append(path)
    return levels
