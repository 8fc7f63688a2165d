"""Which folders have the name of a split: train, validation or test."""

import re
from collections.abc import Iterable
from pathlib import Path

from contrastive_jax.data.class_folders import FolderPart
from contrastive_jax.data.file_tree import Level
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import listed, printable

__all__ = [
    'check_inner_splits',
    'check_not_doubled',
    'check_similar_names',
    'only_train_like',
    'split_folders',
]

_ROLES = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev', 'eval'), 'val'),
    **dict.fromkeys(('test', 'testing', 'holdout', 'hold_out', 'hold-out'), 'test'),
}
_WORDS = '|'.join(sorted(_ROLES, key=len, reverse=True))
# The name of a split inside another name, such as train2017, TrainData or mytest. Within letters it
# stands at the beginning or at the end, and a trainer is no split.
_SPLIT_WORD = re.compile(
    f'(?<![a-z])({_WORDS})(?![a-z])|^({_WORDS})(?!(?:er|ee|ed)s?$)|({_WORDS})$'
)
# What people add to the name of a split.
_ADDED = {'s', 'set', 'sets', 'data', 'dataset', 'image', 'images', 'img', 'imgs', 'split', 'full'}


def split_folders(folders: Iterable[Path], where: str) -> dict[str, Path]:
    """The folders that have the name of a split, by role: 'train', 'val' and 'test'.

    Args:
      folders: the folders to choose from.
      where: the field that named their parent, for messages.

    Returns:
      The folder of each role that occurs; empty if there is none.

    Raises:
      UserError: two folders have the same role.
    """
    splits: dict[str, Path] = {}
    for folder in folders:
        role = _role(folder)
        if role in splits:
            raise UserError(
                f'{where}: {splits[role].name}/ and {folder.name}/ both name the {role} split; '
                'rename one of them, or move it out of the data folder'
            )
        if role is not None:
            splits[role] = folder
    return splits


def check_inner_splits(part: FolderPart, where: str) -> None:
    """Refuses a folder above the real data folder: its test images would be trained on.

    Raises:
      UserError: a folder below holds folders that have the names of splits or look like them.
    """
    inner = [level.path for level in part.levels if _holds_splits(level)]
    if len(inner) == 1:
        folder = printable(inner[0])
        raise UserError(
            f'{where}: has no train/, but {folder} has; give {folder}, or rename the folders in it '
            'if they are no splits'
        )
    if inner:
        raise UserError(
            f'{where}: has no train/, but {listed((path.name for path in inner), "/")} in it have; '
            'if these are classes, move the images to train/<class>/ and test/<class>/; otherwise '
            'give one of these folders'
        )
    for level in part.levels:
        names = [folder.name for folder in level.folders]
        check_similar_names(names, f'{where}, {printable(level.path)}')


def check_not_doubled(part: FolderPart, where: str) -> None:
    """Refuses a split such as train/train/<class>/, whose images would have no classes.

    Raises:
      UserError: the only folder of the split has its name, and holds several folders.
    """
    name = next(iter(part.classes), '')
    if len(part.classes) == 1 and name.casefold() == part.path.name.casefold():
        folders = [printable(folder.name) for folder in part.levels[0].folders]
        if len(folders) > 1 and part.images:
            raise UserError(
                f'{where}: {part.path.name}/ holds only {name}/, and this holds '
                f'{listed(folders, "/")}; move what is in {printable(part.path / name)} up into '
                f'{printable(part.path)}, or rename {name}/ if these are no classes'
            )


def only_train_like(folders: Iterable[Path]) -> str | None:
    """The name of the only folder that begins like the training split, such as `trainval`."""
    words = {folder.name: _SPLIT_WORD.match(folder.name.casefold()) for folder in folders}
    like = [name for name, word in words.items() if word and _ROLES[word[0]] == 'train']
    return like[0] if len(like) == 1 else None


def check_similar_names(names: Iterable[str], where: str) -> None:
    """Refuses folders such as train2017 and val2017: test images would be trained on.

    Two names are similar if they differ in the names of splits in them, and otherwise at most in
    what people add to these, such as numbers or `_images`.

    Raises:
      UserError: a name like train and one like another split.
    """
    similar: dict[str, dict[str, list[str]]] = {}
    for name in names:
        if word := _SPLIT_WORD.search(name.casefold()):
            rest = ''.join(filter(str.isalpha, name[: word.start()] + name[word.end() :]))
            rest = '' if rest.casefold() in _ADDED else rest
            similar.setdefault(rest, {}).setdefault(_ROLES[word[0]], []).append(name)
    splits = {rest: roles for rest, roles in similar.items() if 'train' in roles and len(roles) > 1}
    moves = {
        name: f'{role}/{rest}' if len(splits) > 1 and rest else role
        for rest, roles in splits.items()
        for role, same in roles.items()
        for name in same
    }
    if moves:
        changes = (f'{name}/ to {new}/' for name, new in moves.items() if name.casefold() != new)
        raise UserError(
            f'{where}: {listed(sorted(moves), "/")} look like splits; rename {listed(changes)}, or '
            'give one of them'
        )


def _role(folder: Path) -> str | None:
    return _ROLES.get(folder.name.casefold())


def _holds_splits(level: Level) -> bool:
    """Whether a folder holds a training folder with another split, or with nothing beside it."""
    roles = {_role(folder) for folder in level.folders}
    alone = roles == {'train'} and not level.images
    return alone or roles >= {'train', 'val'} or roles >= {'train', 'test'}
