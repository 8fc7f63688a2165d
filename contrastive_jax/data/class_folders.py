"""Image files and their classes. The class is the name of a folder, or stands in a table.

Axes: n files.
"""

import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastive_jax.data.file_tree import Level, walk
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import listed, printable, read_text

__all__ = [
    'Files',
    'FolderPart',
    'check_spelling',
    'label_tests',
    'labelled',
    'lacking_classes',
    'read_folder',
    'some',
]

# TinyImageNet has the classes of its validation images in this file.
_TABLE = 'val_annotations.txt'
# A folder that holds all of these is the workdir of a run.
_RUN_FILES = ('config.json', 'training_set.npz')


class Files(NamedTuple):
    """Image files of one split.

    Attributes:
      paths: n paths, sorted, so that their order is the same on every machine.
      labels: `[n]` int32, or None.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray | None


class FolderPart(NamedTuple):
    """A folder whose folders may be classes.

    Attributes:
      path: path of the folder.
      classes: sorted images below each of its folders, by name of the folder; may be empty lists.
      loose: sorted images in the folder itself.
      others: numbers of the files that are no images, by suffix.
      levels: all folders below it.
    """

    path: Path
    classes: dict[str, list[Path]]
    loose: list[Path]
    others: Counter[str]
    levels: list[Level]

    @property
    def images(self) -> list[Path]:
        """All images, sorted."""
        return sorted([*self.loose, *(path for paths in self.classes.values() for path in paths)])


def read_folder(top: Level) -> FolderPart:
    """Reads everything below a folder."""
    levels = {folder.name: walk(folder) for folder in top.folders}
    below = [level for folder_levels in levels.values() for level in folder_levels]
    others = sum((level.others for level in below), top.others)
    if (top.path / _TABLE).is_file():
        others = others - Counter({'.txt': 1})
    classes = {
        name: sorted(path for level in folder_levels for path in level.images)
        for name, folder_levels in levels.items()
    }
    return FolderPart(top.path, classes, sorted(top.images), others, below)


def some(files: Files, indices: np.ndarray) -> Files:
    """The files with the given indices."""
    labels = None if files.labels is None else files.labels[indices]
    return Files(tuple(files.paths[index] for index in indices), labels)


def labelled(part: FolderPart, where: str) -> tuple[Files, tuple[str, ...]]:
    """The images of a folder and its classes; no classes if fewer than two folders hold images.

    Raises:
      UserError: no images at all, a class without images, or a class folder that a run wrote.
    """
    for name in part.classes:
        if all((part.path / name / file).is_file() for file in _RUN_FILES):
            raise UserError(
                f'{where}: {printable(part.path / name)} is the workdir of a run, not a class; '
                'move it out of the data folder (a run can be moved at any time)'
            )
    full = {name: paths for name, paths in part.classes.items() if paths}
    empty = [name for name in part.classes if name not in full]
    if full and empty:
        raise UserError(
            f'{where}: {printable(part.path)} has class folders without images: '
            f'{listed(empty, "/")}; add images to them, or move them out of the data folder'
        )
    _check_not_empty(part, where)
    if len(full) < 2:
        return Files(tuple(part.images), None), ()
    return _by_folder(full, tuple(full)), tuple(full)


def label_tests(part: FolderPart, classes: tuple[str, ...], where: str) -> Files:
    """The test images of a folder, labelled with the classes of the training split if it has any.

    Raises:
      UserError: no images, no classes, or a class that the training split lacks.
    """
    _check_not_empty(part, where)
    if not classes:
        return Files(tuple(part.images), None)
    full = {name: paths for name, paths in part.classes.items() if paths}
    known = full.keys() & set(classes)
    if not known and (part.path / _TABLE).is_file():
        return _by_table(part, classes, where)
    unknown = [name for name in full if name not in known]
    if not known or unknown:
        problem = f'has the class {printable(unknown[0])!r}' if unknown else 'has no classes'
        raise UserError(
            f'{where}: {printable(part.path.name)} {problem}, and train has {listed(classes)}; '
            'both need the same folders. To hold out a part of the training images for tests, give '
            'the training folder alone'
        )
    return _by_folder(full, classes)


def check_spelling(part: FolderPart, classes: tuple[str, ...], where: str) -> None:
    """Refuses a class that looks like one of the training split, with what makes them equal.

    macOS may store an accent as a character of its own, and its file systems ignore case.

    Raises:
      UserError: a class with images that differs in case or Unicode form alone.
    """
    spellings = {_folded(name): name for name in classes}
    for name in (name for name, paths in part.classes.items() if paths and name not in classes):
        if wanted := spellings.get(_folded(name)):
            form = len({unicodedata.normalize('NFC', text) for text in (name, wanted)}) == 1
            case = name.casefold() == wanted.casefold()
            what = 'Unicode form' if form else 'case' if case else 'Unicode form and case'
            old, new = (ascii(str(part.path / text)) for text in (name, wanted))
            cure = f'in Python, os.rename({old}, {new}) makes them equal'
            if wanted in part.classes:
                cure = f'move the images of {old} into {new}'
            raise UserError(
                f'{where}: {printable(part.path.name)} has {name!a} and train has {wanted!a}; '
                f'these differ in {what} alone; {cure}'
            )


def _folded(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold()


def lacking_classes(part: FolderPart, classes: tuple[str, ...]) -> list[str]:
    """The classes of which a folder holds no images; none if it has a table of classes."""
    lacking = [name for name in classes if not part.classes.get(name)]
    has_table = len(lacking) == len(classes) and (part.path / _TABLE).is_file()
    return [] if has_table else lacking


def _by_folder(folders: dict[str, list[Path]], classes: tuple[str, ...]) -> Files:
    paths = tuple(path for part in folders.values() for path in part)
    labels = np.array([classes.index(name) for name in folders], np.int32)
    return Files(paths, np.repeat(labels, [len(part) for part in folders.values()]))


def _by_table(part: FolderPart, classes: tuple[str, ...], where: str) -> Files:
    """Files whose classes are in a table, one line each: file name, class, unused columns."""
    table = part.path / _TABLE
    rows = [line.split('\t')[:2] for line in read_text(table).splitlines() if line]
    unknown = [row for row in rows if len(row) < 2 or row[1] not in classes]
    if unknown:
        raise UserError(
            f'{where}: {printable(table)} has the line {unknown[0]}, whose class train lacks; '
            'unpack the data set again'
        )
    images = {path.name: path for path in part.images}
    without_image = [name for name, _ in rows if name not in images]
    if without_image:
        problem = f'names {without_image[0]!r}, but the folder has no such image'
    elif not rows:
        problem = 'lists nothing'
    elif len(dict(rows)) < len(rows):
        problem = 'names an image twice'
    else:
        rows.sort()
        labels = np.array([classes.index(name) for _, name in rows], np.int32)
        return Files(tuple(images[name] for name, _ in rows), labels)
    raise UserError(f'{where}: {printable(table)} {problem}; unpack the data set again')


def _check_not_empty(part: FolderPart, where: str) -> None:
    if not part.images:
        folders = listed(part.classes, '/')
        files = listed(f'{count} {end}' for end, count in part.others.most_common())
        inside = '; '.join(filter(None, (folders, files)))
        raise UserError(
            f'{where}: {printable(part.path)} holds no images{f", only {inside}" * bool(inside)}; '
            'give a folder of class folders, of train/ and test/ or val/, or of images such as '
            '.jpg and .png'
        )
