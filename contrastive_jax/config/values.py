"""The values of a config: its defaults, how they are resolved, checked and compared.

`configs/*.py` start from `default()`. A config is resolved and validated before anything is
compiled, and `completed` when it is read back from the folder of a run.
"""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, config_dict

from contrastive_jax.config import arms
from contrastive_jax.config.checks import check_together
from contrastive_jax.config.sections import SECTIONS
from contrastive_jax.config.table import FIELDS, WITHOUT_EFFECT, paths
from contrastive_jax.errors import UserError

__all__ = [
    'check_field',
    'check_value',
    'check_values',
    'completed',
    'default',
    'differences',
    'flatten',
    'nearest_field',
    'one_spelling',
    'resolve',
    'restored',
    'spelled_alike',
    'validate',
]

# A field whose path is as similar as this is most likely mistyped.
_TYPO = 0.85


def default() -> ConfigDict:
    """A config with every field at its default."""
    tree: dict[str, Any] = {}
    for path, field in FIELDS.items():
        *sections, name = path.split('.')
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = config_dict.placeholder(str) if field.default is None else field.default
    return ConfigDict(tree)


def validate(config: ConfigDict) -> None:
    """Checks every field by itself, then the fields against each other, as the arm sets them.

    All that can be known about a config without its data is checked here.

    Raises:
      UserError: names the field, its value, what is allowed and, for a typing error, the nearest
        field.
    """
    resolved, _ = resolve(config)
    check_together(resolved, flatten(resolved))
    for section in SECTIONS:
        section.check(resolved)


def check_values(config: ConfigDict) -> None:
    """Checks every field by itself, as a stored config needs it: its run began with these fields.

    Raises:
      UserError: names the field, its value, and what is allowed.
    """
    _check_values(flatten(config))


def resolve(config: ConfigDict, given: Collection[str] = ()) -> tuple[ConfigDict, list[str]]:
    """A copy of a config in which `arm` and the fields of `pairs` say the same.

    `arms.resolve_fields` says how.

    Args:
      config: every field set.
      given: paths of the fields that were given on the command line, which win over the arm.

    Returns:
      The copy, and lines for the user.

    Raises:
      UserError: a value that is not allowed, or fields given that contradict each other.
    """
    values = flatten(config)
    _check_values(values)
    changes, words = arms.resolve_fields(values, given)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    return config, words + _idle(values | changes, given)


def completed(stored: Mapping) -> dict[str, Any]:
    """The values that a stored config stands for, by path, its arm resolved.

    A run from before a field existed behaved as that field's default says. Fields that are no
    longer known are kept.
    """
    values = {path: field.default for path, field in FIELDS.items()} | flatten(stored)
    if all(FIELDS[path].rule.holds(values[path]) for path in arms.PAIR_FIELDS):
        values |= arms.resolve_fields(values)[0]
    return values


def restored(stored: Mapping) -> ConfigDict:
    """The config that `completed` gives.

    Raises:
      UserError: a field that is not known.
    """
    values = completed(stored)
    config = default()
    for path in values:
        check_field(path)
    with config.ignore_type():
        config.update_from_flattened_dict(values)
    return config


def check_field(path: str) -> None:
    """Raises UserError, with the nearest name, unless there is a field `path`."""
    if path not in FIELDS:
        raise UserError(
            f'config.{path}: no such field; the nearest is config.{nearest_field(path)}; '
            'python -m contrastive_jax.config lists all'
        )


def check_value(path: str, value: Any) -> None:
    """Raises UserError, with the nearest name, unless a field may have this value."""
    rule = FIELDS[path].rule
    if not rule.holds(value):
        names = rule.allowed.removeprefix('one of ').split(', ')
        near = difflib.get_close_matches(str(value), names, n=1)
        hint = f'; did you mean {near[0]}?' if near else ''
        raise UserError(f'config.{path}={value!r}: must be {rule.allowed}{hint}')


def nearest_field(path: str) -> str:
    """The field that is most likely meant: one with this last name or its initials, or alike."""
    section, _, name = path.rpartition('.')

    def alike(text: str, other: str) -> float:
        return difflib.SequenceMatcher(None, text, other).ratio()

    def likeness(field: str) -> tuple[bool, bool, bool, float]:
        own_section, _, own = field.rpartition('.')
        initials = ''.join(word[:1] for word in own.split('_'))
        here = own_section == section
        whole = alike(path, field)
        # The last name as it is, the beginning of one, its initials, or its last word.
        same = own == name or ((here or not section) and name in (own[: len(name)], initials))
        word = here and name in own.split('_')
        return whole > _TYPO, same or word, here and section != '', max(whole, alike(name, own))

    return max(FIELDS, key=likeness)


def differences(old: Mapping, new: Mapping, besides: Collection[str] = ()) -> list[str]:
    """Names the fields in which two configs differ, with both values; not those without effect.

    Args:
      old: the config there.
      new: the config here.
      besides: paths of fields that may differ as well.

    Returns:
      One line for each field, sorted by path; empty if no field differs.
    """
    old, new = (spelled_alike(flatten(config)) for config in (old, new))
    return [
        f'{path}: {_shown(old, path)} there, {_shown(new, path)} here'
        for path in sorted((old.keys() | new.keys()) - WITHOUT_EFFECT.union(besides))
        if path not in old or path not in new or old[path] != new[path]
    ]


def one_spelling(path: str) -> str:
    """A path without needless slashes, which the Tab key adds; `gs://bucket` needs its own.

    `..` stays, because behind a link it leads elsewhere.
    """
    if not path or '://' in path:
        return path
    spelled = str(Path(path))
    # `~` would be the home folder.
    return f'./{spelled}' if spelled.startswith('~') else spelled


def spelled_alike(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config by paths, with one spelling of each path of the file system."""
    of_files = paths()
    return {
        path: one_spelling(value) if path in of_files and isinstance(value, str) else value
        for path, value in values.items()
    }


def flatten(config, prefix: str = '') -> dict[str, Any]:
    """The values of a config, or of any nested dict, by their paths such as `pairs.margin`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        path = f'{prefix}{name}'
        flat |= flatten(value, path + '.') if hasattr(value, 'items') else {path: value}
    return flat


def _check_values(values: Mapping[str, Any]) -> None:
    for path in values:
        check_field(path)
    for path in FIELDS:
        if path not in values:
            raise UserError(f'config.{path}: missing; start the config from config.default()')
        check_value(path, values[path])


def _idle(values: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """A line for each given field that has no effect beside the others."""
    lines = []
    for path in given:
        needs = FIELDS[path].needs
        if needs is not None and not needs.met(values):
            lines.append(
                f'config.{path}={values[path]!r}: has no effect with '
                f'config.{needs.path}={values[needs.path]!r}'
            )
    return lines


def _shown(values: Mapping[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else 'absent'
