"""Which folders have the name of a split: train, validation or test."""

import re
from collections.abc import Iterable
from pathlib import Path

from contrastive_jax.data.class_folders import Part, listed
from contrastive_jax.data.file_tree import Level
from contrastive_jax.errors import UserError
from contrastive_jax.runtime.files import printable

__all__ = ['check_inner_splits', 'check_similar_names', 'split_folders']

_ROLES = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev', 'eval'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
# The name of a split inside another name, such as train2017.
_SPLIT_WORD = re.compile(f'(?<![a-z])({"|".join(sorted(_ROLES, reverse=True))})(?![a-z])')


def split_folders(folders: Iterable[Path], where: str) -> dict[str, Path]:
    """The folders that have the name of a split, by role: 'train', 'val' and 'test'.

    Args:
      folders: the folders to choose from.
      where: the field that named their parent, for messages.

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


def check_inner_splits(part: Part, where: str) -> None:
    """Refuses a folder above the real data folder: its test images would be trained on."""
    inner = [level.path for level in part.levels if _holds_splits(level)]
    if inner:
        folder = printable(inner[0])
        more = f' and {len(inner) - 1} more folders have' if len(inner) > 1 else ' has'
        raise UserError(
            f'{where}: has no train/, but {folder}{more}; give {folder}, or rename the folders in '
            'it if they are no splits'
        )


def check_similar_names(names: Iterable[str], where: str) -> None:
    """Refuses class folders such as train2017 and val2017: test images would be trained on."""
    similar: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        if word := _SPLIT_WORD.search(name.casefold()):
            rest = name[: word.start()], name[word.end() :]
            similar.setdefault(rest, {})[_ROLES[word[0]]] = name
    for name_of_role in similar.values():
        if 'train' in name_of_role and len(name_of_role) > 1:
            raise UserError(
                f'{where}: {listed(name_of_role.values(), "/")} look like splits; rename them to '
                f'{listed(name_of_role)}, or give one of them'
            )


def _role(folder: Path) -> str | None:
    return _ROLES.get(folder.name.casefold())


def _holds_splits(level: Level) -> bool:
    """Whether a folder holds a training folder with another split, or with nothing beside it."""
    roles = {_role(folder) for folder in level.folders}
    alone = roles == {'train'} and not level.images
    return alone or roles >= {'train', 'val'} or roles >= {'train', 'test'}
