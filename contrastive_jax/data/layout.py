"""Which files of a folder are for training and which for tests. One rule for all layouts:

- Folders with the name of a split are splits, in upper or lower case: train, training; val, valid,
  validation, dev, eval; test, testing. Tests come from the test split, or from the validation
  split if only that one has the classes of the training split.
- Otherwise each folder is a class, and a tenth of each class is held out for tests.
- With fewer than two class folders there are no classes.

A folder that could be read in two ways is refused. One line says what is taken and what is not.

Axes: n files.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastive_jax.data import class_folders
from contrastive_jax.data.class_folders import Files, Part, listed
from contrastive_jax.data.file_tree import Level, level, walk
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.runtime.files import printable

__all__ = ['Layout', 'find']

_ROLES = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev', 'eval'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
# The name of a split inside another name, such as train2017.
_SPLIT_WORD = re.compile(f'(?<![a-z])({"|".join(sorted(_ROLES, reverse=True))})(?![a-z])')
# One image of so many is held out for tests.
_HELD_OUT = 10


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
      train: training files.
      test: test files.
      classes: names, sorted.
      summary: what is taken and what is not, one line.
    """

    train: Files
    test: Files
    classes: tuple[str, ...]
    summary: str


def find(root: Path, where: str) -> Layout:
    """Finds the training and test files of a folder and the names of their classes.

    Args:
      root: the folder.
      where: the field that named it, for messages.

    Raises:
      UserError: no images in a split or a class; a folder that could be read in two ways; classes
        in the tests that the training split lacks.
    """
    top = level(root)
    splits = _splits(top.folders, where)
    if splits:
        return _from_splits(top, splits, where)
    part = class_folders.read(top)
    _check_deeper_splits(part, where)
    _check_similar_names(list(part.classes), where)
    return _hold_out(part, '', part.others, {}, where)


def _splits(folders: list[Path], where: str) -> dict[str, Path]:
    """The split folders among some folders, by role."""
    splits: dict[str, Path] = {}
    for folder in folders:
        role = _ROLES.get(folder.name.casefold())
        if role in splits:
            raise UserError(
                f'{where}: {splits[role].name}/ and {folder.name}/ both name the {role} split; '
                'rename one of them, or move it out of the data folder'
            )
        if role is not None:
            splits[role] = folder
    return splits


def _check_deeper_splits(part: Part, where: str) -> None:
    """Refuses a folder too high up: the images of its test folders would be trained on."""
    inner = [found.path for found in part.levels if _holds_splits(found)]
    if inner:
        folder = printable(inner[0])
        more = f' and {len(inner) - 1} more folders have' if len(inner) > 1 else ' has'
        raise UserError(
            f'{where}: has no train/, but {folder}{more}; give {folder}, or rename the folders in '
            'it if they are no splits'
        )


def _holds_splits(found: Level) -> bool:
    """Whether a folder holds a training folder with another split, or with nothing beside it."""
    roles = {_ROLES.get(folder.name.casefold()) for folder in found.folders}
    alone = roles == {'train'} and not found.images
    return alone or roles >= {'train', 'val'} or roles >= {'train', 'test'}


def _check_similar_names(names: list[str], where: str) -> None:
    """Refuses class folders such as train2017 and val2017: test images would be trained on."""
    similar: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        if word := _SPLIT_WORD.search(name.casefold()):
            rest = name[: word.start()], name[word.end() :]
            similar.setdefault(rest, {})[_ROLES[word[0]]] = name
    for named in similar.values():
        if 'train' in named and len(named) > 1:
            raise UserError(
                f'{where}: {listed(named.values(), "/")} look like splits; rename them to '
                f'{listed(named)}, or give one of them'
            )


def _from_splits(top: Level, splits: dict[str, Path], where: str) -> Layout:
    beside = {
        folder: sum(len(found.images) for found in walk(folder))
        for folder in top.folders
        if folder not in splits.values()
    }
    beside = {folder: count for folder, count in beside.items() if count}
    if 'train' not in splits:
        folder = next(iter(splits.values()))
        raise UserError(
            f'{where}: has {folder.name}/ but no train/; move the training images into train/, or '
            f'give {printable(folder)} to train on it alone, or rename it if it is a class'
        )
    train = class_folders.read(level(splits['train']))
    if beside and (len(splits) == 1 or not train.classes):
        names = listed((folder.name for folder in beside), '/')
        raise UserError(
            f'{where}: {train.path.name}/ has the name of a split, but {names} beside it hold '
            f'images too; give {printable(train.path)} to train on it alone, or rename '
            f'{train.path.name}/ if all of these are classes'
        )
    unused = {f'in {printable(folder.name)}/': count for folder, count in beside.items()}
    unused |= {'outside the splits': len(top.images)}
    if len(splits) == 1:
        return _hold_out(
            train, f'from {train.path.name}/', top.others + train.others, unused, where
        )
    files, classes = class_folders.label(train, where)
    tests = [class_folders.read(level(splits[role])) for role in ('test', 'val') if role in splits]
    chosen = _choose(tests, classes)
    test = class_folders.label_tests(chosen, classes, where)
    unused |= {f'in {part.path.name}/': len(part.images) for part in tests if part is not chosen}
    unused |= _outside(train, files) | _outside(chosen, test)
    others = top.others + train.others + chosen.others
    taken = f'{_count(len(files.paths), "image")} from {train.path.name}/'
    taken += f', {len(test.paths)} from {chosen.path.name}/'
    if chosen.classes and not classes:
        taken += f' (the folders of {chosen.path.name}/ are no classes, since train has none)'
    return Layout(files, test, *_summary(train, classes, taken, others, unused))


def _choose(tests: list[Part], classes: tuple[str, ...]) -> Part:
    """The first folder that can be tested on, or the first one, which is refused later."""
    for part in tests:
        if class_folders.has_known_classes(part, classes) if classes else part.images:
            return part
    return tests[0]


def _hold_out(
    part: Part, source: str, others: Counter[str], unused: dict[str, int], where: str
) -> Layout:
    """Holds out a tenth of each class for tests, always the same images."""
    files, classes = class_folders.label(part, where)
    test = _tenth(files)
    if not len(test):
        raise UserError(
            f'{where}: no image is left for tests, since {"each class" if classes else "it"} has '
            'one image only; add images, or put training images into train/ and others into test/'
        )
    train = np.setdiff1d(np.arange(len(files.paths)), test)
    taken = f'{_count(len(train), "image")} {source}'.strip()
    taken += f', {len(test)} held out for tests'
    if classes:
        sizes = np.bincount(files.labels)
        single = [name for name, size in zip(classes, sizes, strict=True) if size == 1]
        if single:
            taken += f'; trained on but not tested, since they have one image: {listed(single)}'
    words = _summary(part, classes, taken, others, unused | _outside(part, files))
    return Layout(class_folders.some(files, train), class_folders.some(files, test), *words)


def _tenth(files: Files) -> np.ndarray:
    """Indices of a tenth of each class, sorted; at least one image, but none of a class of one."""
    labels = np.zeros(len(files.paths), int) if files.labels is None else files.labels
    order = host_rng(Use.HELD_OUT_FILES, 0).permutation(len(labels))
    members = [order[labels[order] == label] for label in np.unique(labels)]
    parts = [rows[: max(1, len(rows) // _HELD_OUT)] for rows in members if len(rows) > 1]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, int)


def _outside(part: Part, files: Files) -> dict[str, int]:
    """Images of a folder that have no class where others have one."""
    name = printable(part.path.absolute().name)
    return {f'outside the classes of {name}/': len(part.images) - len(files.paths)}


def _count(number: int, thing: str) -> str:
    return f'{number} {thing}{"" if number == 1 else "s"}'


def _summary(
    part: Part, classes: tuple[str, ...], taken: str, others: Counter[str], unused: dict[str, int]
) -> tuple[tuple[str, ...], str]:
    """The names of the classes as they can be printed, and the line."""
    words = [f'{len(classes) or "no"} classes, {taken}']
    if len(part.classes) == 1:
        words.append(f'one folder, {listed(part.classes)}, so there are no classes to tell apart')
        if part.levels[0].folders:
            words[-1] += ' (if the folders in it are the classes, give it or move them up)'
    files = others - Counter(hidden=others['hidden'])
    counts = ', '.join(f'{printable(end)} {count}' for end, count in files.most_common())
    ignored = [f'{_count(files.total(), "file")} ({counts})'] if files else []
    ignored += [f'{others["hidden"]} hidden'] if others['hidden'] else []
    if ignored:
        words.append(f'ignored: {", ".join(ignored)}')
    unused = {name: count for name, count in unused.items() if count}
    if unused:
        parts = ', '.join(f'{_count(count, "image")} {name}' for name, count in unused.items())
        words.append(f'not used: {parts}')
    return tuple(map(printable, classes)), '; '.join(words)
