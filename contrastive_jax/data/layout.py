"""Which files of a folder are for training and which for tests. One rule covers all layouts:

- Folders with the name of a split are splits, in upper or lower case: train, training; val, valid,
  validation, dev, eval; test, testing, holdout. Tests come from the test split, or from the
  validation split if only that one has the classes of the training split.
- Otherwise each folder is a class, and a tenth of each class is held out for tests.
- With fewer than two class folders there are no classes.

A folder that could be read in two ways is refused. One line says which files are used.

Axes: n files.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastive_jax.data import class_folders
from contrastive_jax.data.class_folders import Files, FolderPart
from contrastive_jax.data.file_tree import Level, level, walk
from contrastive_jax.data.split_names import (
    check_inner_splits,
    check_not_doubled,
    check_similar_names,
    only_train_like,
    split_folders,
)
from contrastive_jax.errors import UserError
from contrastive_jax.randomness import Use, host_rng
from contrastive_jax.runtime.files import listed, printable

__all__ = ['Layout', 'find']

# One image of so many is held out for tests.
_HELD_OUT = 10
# The line names so many classes.
_FEW_CLASSES = 5


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
      train: training files.
      test: test files.
      classes: names, sorted.
      summary: one line with the numbers of files that are used, ignored and not used.
      held_out: whether the test files were drawn from the training files.
    """

    train: Files
    test: Files
    classes: tuple[str, ...]
    summary: str
    held_out: bool = False

    @property
    def line(self) -> str:
        """The summary, with the names of the classes if they are few."""
        if not 0 < len(self.classes) <= _FEW_CLASSES:
            return self.summary
        number, rest = self.summary.split(',', 1)
        return f'{number} ({listed(self.classes)}),{rest}'


def find(root: Path, where: str) -> Layout:
    """Finds the training and test files of a folder and the names of their classes.

    Args:
      root: the folder.
      where: the field that named it, for messages.

    Returns:
      Training and test files, classes, and a line that describes them, see `Layout`.

    Raises:
      UserError: no images in a split or a class; a folder that could be read in two ways; classes
        in the tests that the training split lacks.
    """
    top = level(root)
    splits = split_folders(top.folders, where)
    if splits:
        return _from_splits(top, splits, where)
    part = class_folders.read_folder(top)
    check_inner_splits(part, where)
    check_similar_names(part.classes, where)
    return _hold_out(part, '', part.others, {}, where)


def _from_splits(top: Level, splits: dict[str, Path], where: str) -> Layout:
    """The layout of a folder that holds at least one split."""
    if len(splits) == 1:
        check_similar_names((folder.name for folder in top.folders), where)
    if 'train' not in splits:
        folder = next(iter(splits.values()))
        if name := only_train_like(top.folders):
            raise UserError(
                f'{where}: has {folder.name}/ but no train/; rename {printable(name)}/ to train/, '
                f'or rename {folder.name}/ if it is a class'
            )
        raise UserError(
            f'{where}: has {folder.name}/ but no train/; move the training images into train/, or '
            f'give {printable(folder)} to train on it alone, or rename it if it is a class'
        )
    train = class_folders.read_folder(level(splits['train']))
    check_not_doubled(train, where)
    beside = _images_beside(top, splits)
    if beside and (len(splits) == 1 or not train.classes):
        raise UserError(
            f'{where}: {train.path.name}/ has the name of a split, but {listed(beside, "/")} '
            f'beside it hold images too; give {printable(train.path)} to train on it alone, or '
            f'rename {train.path.name}/ if all of these are classes'
        )
    unused = {f'in {printable(name)}/': count for name, count in beside.items()}
    unused |= {'outside the splits': len(top.images)}
    others = top.others + train.others
    if len(splits) == 1:
        return _hold_out(train, f'from {train.path.name}/', others, unused, where)
    tests = [
        class_folders.read_folder(level(splits[role])) for role in ('test', 'val') if role in splits
    ]
    return _with_tests(train, tests, others, unused, where)


def _images_beside(top: Level, splits: dict[str, Path]) -> dict[str, int]:
    """Numbers of images in the folders that are no splits, by name, where there are any."""
    counts = {
        folder.name: sum(len(inner.images) for inner in walk(folder))
        for folder in top.folders
        if folder not in splits.values()
    }
    return {name: count for name, count in counts.items() if count}


def _with_tests(
    train: FolderPart,
    tests: list[FolderPart],
    others: Counter[str],
    unused: Mapping[str, int],
    where: str,
) -> Layout:
    """The layout of a training split with one or two splits to test on."""
    train_files, classes = class_folders.labelled(train, where)
    test = _choose(tests, classes)
    # The first may have been passed over for its spelling alone.
    for part in (tests[0], test) if classes else ():
        class_folders.check_spelling(part, classes, where)
    if classes:
        check_not_doubled(test, where)
    test_files = class_folders.label_tests(test, classes, where)
    unused = {
        **unused,
        **{f'in {part.path.name}/': len(part.images) for part in tests if part is not test},
        **_outside(train, train_files),
        **_outside(test, test_files),
    }
    used = f'{_count(len(train_files.paths), "image")} from {train.path.name}/'
    used += f', {len(test_files.paths)} from {test.path.name}/'
    lacking = class_folders.lacking_classes(tests[0], classes)
    # A split without any of the classes was not meant for tests.
    if test is not tests[0] and 0 < len(lacking) < len(classes):
        used += f', because {tests[0].path.name}/ has no images of {listed(lacking)}'
    elif test is tests[0] and lacking:
        used += f'; not tested, since {test.path.name}/ has no images of them: {listed(lacking)}'
    if test.classes and not classes:
        used += f' (the folders of {test.path.name}/ are no classes, since train has none)'
    summary = _summary(train, classes, used, others + test.others, unused)
    return Layout(train_files, test_files, tuple(map(printable, classes)), summary)


def _choose(tests: list[FolderPart], classes: tuple[str, ...]) -> FolderPart:
    """The first split with all classes, else with some, else the first one, which is refused."""
    if not classes:
        return next((part for part in tests if part.images), tests[0])
    lacking = [len(class_folders.lacking_classes(part, classes)) for part in tests]
    for most in (0, len(classes) - 1):
        for part, count in zip(tests, lacking, strict=True):
            if count <= most:
                return part
    return tests[0]


def _hold_out(
    part: FolderPart, source: str, others: Counter[str], unused: Mapping[str, int], where: str
) -> Layout:
    """Holds out a tenth of each class for tests, always the same images."""
    files, classes = class_folders.labelled(part, where)
    test = _tenth(files)
    if not len(test):
        raise UserError(
            f'{where}: no image is left for tests, since {"each class" if classes else "it"} has '
            'one image only; add images, or put training images into train/ and others into test/'
        )
    train = np.setdiff1d(np.arange(len(files.paths)), test)
    used = f'{_count(len(train), "image")} {source}'.strip()
    used += f', {len(test)} held out for tests'
    if classes and files.labels is not None:
        sizes = np.bincount(files.labels)
        single = [name for name, size in zip(classes, sizes, strict=True) if size == 1]
        if single:
            used += f'; trained on but not tested, since they have one image: {listed(single)}'
    summary = _summary(part, classes, used, others, {**unused, **_outside(part, files)})
    return Layout(
        class_folders.some(files, train),
        class_folders.some(files, test),
        tuple(map(printable, classes)),
        summary,
        held_out=True,
    )


def _tenth(files: Files) -> np.ndarray:
    """Indices of a tenth of each class, sorted; at least one image, but none of a class of one."""
    labels = np.zeros(len(files.paths), int) if files.labels is None else files.labels
    order = host_rng(Use.HELD_OUT_FILES, 0).permutation(len(labels))
    members = [order[labels[order] == label] for label in np.unique(labels)]
    parts = [rows[: max(1, len(rows) // _HELD_OUT)] for rows in members if len(rows) > 1]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, int)


def _outside(part: FolderPart, files: Files) -> dict[str, int]:
    """Images of a folder that have no class where others have one."""
    name = printable(part.path.absolute().name)
    return {f'outside the classes of {name}/': len(part.images) - len(files.paths)}


def _count(number: int, thing: str) -> str:
    return f'{number} {thing}{"" if number == 1 else "s"}'


def _summary(
    part: FolderPart,
    classes: tuple[str, ...],
    used: str,
    others: Counter[str],
    unused: Mapping[str, int],
) -> str:
    """The line that says which files are used, ignored and not used."""
    sentences = [f'{len(classes) or "no"} classes, {used}']
    if len(part.classes) == 1:
        only = f'one folder, {listed(part.classes)}, so there are no classes to tell apart'
        if part.levels[0].folders:
            only += ' (if the folders in it are the classes, give it or move them up)'
        sentences.append(only)
    ignored = _ignored(others)
    if ignored:
        sentences.append(f'ignored: {ignored}')
    not_used = [f'{_count(count, "image")} {name}' for name, count in unused.items() if count]
    if not_used:
        sentences.append(f'not used: {", ".join(not_used)}')
    return '; '.join(sentences)


def _ignored(others: Counter[str]) -> str:
    """Numbers of the files that are no images, by suffix, and of hidden ones."""
    files = others - Counter(hidden=others['hidden'])
    counts = ', '.join(f'{printable(end)} {count}' for end, count in files.most_common())
    texts = [f'{_count(files.total(), "file")} ({counts})'] if files else []
    texts += [f'{others["hidden"]} hidden'] if others['hidden'] else []
    return ', '.join(texts)
