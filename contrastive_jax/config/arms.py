"""The arms of the paper: named settings of the four fields that say how pairs are treated.

An arm says which pairs are selected and which treatments are on. How strong a treatment is stays
with its own field. An arm changes nothing else: `loss.name` and the difficult band
(`pairs.pos_high` and `pairs.pos_low`) stay as the config has them. These are treatments of pairs in
the loss; `config.removal` leaves out images.
"""

from collections.abc import Collection, Mapping
from typing import Any

from contrastive_jax.errors import UserError

__all__ = ['ARMS', 'PAIR_FIELDS', 'STRENGTH_FIELDS', 'contradicting', 'resolve_fields']

_SELECT, _REMOVE = 'pairs.select', 'pairs.remove'
_MARGIN, _SCALE = 'pairs.margin', 'pairs.temperature_scale'

# The pairs that each arm selects, and the treatments that it applies to them.
ARMS: dict[str, tuple[str, frozenset[str]]] = {
    'simclr': ('none', frozenset()),
    'removal': ('difficult', frozenset({_REMOVE})),
    'margin': ('difficult', frozenset({_MARGIN})),
    'temperature': ('difficult', frozenset({_SCALE})),
    'combined': ('difficult', frozenset({_MARGIN, _SCALE})),
    'margin_all': ('all', frozenset({_MARGIN})),
    'temperature_all': ('all', frozenset({_SCALE})),
}
# The value at which a treatment does nothing, and the one that an arm takes in its place.
_NEUTRAL = {_REMOVE: False, _MARGIN: 0.0, _SCALE: 1.0}
_STRENGTH = {_REMOVE: True, _MARGIN: 0.1, _SCALE: 0.7}
# What `resolve_fields` reads and sets.
PAIR_FIELDS = ('arm', _SELECT, *_NEUTRAL)
# The treatments that have a strength.
STRENGTH_FIELDS = (_MARGIN, _SCALE)


def resolve_fields(
    values: Mapping[str, Any], given: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Makes the arm and the four fields of a config say the same.

    A named arm fills the fields. A field that is given on the command line wins over the arm, also
    over an arm given there, and switches off what it leaves without effect: a margin given beside
    the arm `removal` switches removal off. `arm` is then the name of what the fields form, '' if
    that has no name: resolving again changes nothing.

    Args:
      values: of all fields, by path, each allowed by itself.
      given: paths of the fields that were given on the command line.

    Returns:
      The values of `arm` and of the four fields, and a line for each thing that the user may not
      expect.

    Raises:
      UserError: two fields, both given, of which one leaves the other without effect.
    """
    arm = values['arm']
    fields = {path: values[path] for path in (_SELECT, *_NEUTRAL)}
    own = {path: value for path, value in fields.items() if path in given}
    words = []
    if arm:
        words = _overruled(arm, fields, given)
        fields = _fields(arm, values) | own
        if _SELECT not in own and _unselected(fields, own):
            fields[_SELECT] = 'difficult'
    dropped = _without_effect(fields, set(own))
    fields |= {path: _NEUTRAL[path] for path in dropped}
    name = _name(fields)
    if arm and name != arm:
        words.append(_change(arm, fields, own))
    elif dropped:
        beside = _listed(fields, _applied(fields) or [_SELECT])
        words.append(f'{_listed(values, dropped)}: switched off, without effect with {beside}')
    return {'arm': name, **fields}, words


def contradicting(arm: str, fields: Mapping[str, Any]) -> list[str]:
    """The fields that a config sets itself and that its arm sets otherwise.

    The strength of a treatment that the arm does not apply is no contradiction: another arm of the
    command line may use it.

    Args:
      arm: name of an arm.
      fields: values by path; only those of `pairs` matter.

    Returns:
      Paths of the fields, sorted; empty if nothing contradicts the arm.
    """
    select, treatments = ARMS[arm]
    wrong = [_SELECT] if fields.get(_SELECT, select) != select else []
    wrong += [path for path in treatments if path in fields and fields[path] == _NEUTRAL[path]]
    if fields.get(_REMOVE) and _REMOVE not in treatments:
        wrong.append(_REMOVE)
    return sorted(wrong)


def _overruled(arm: str, fields: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """Names fields of a config file that its arm overrules; defaults may not have been set."""
    if 'arm' in given:
        return []
    neutral = {_SELECT: 'none', **_NEUTRAL}
    changed = {
        path: value
        for path, value in fields.items()
        if value != neutral[path] and path not in given
    }
    wrong = contradicting(arm, changed)
    if not wrong:
        return []
    return [f'config.arm={arm} of the config file overrules {_listed(fields, wrong)} beside it']


def _fields(arm: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The four fields of an arm: its strengths are the config's, where the config has any."""
    select, treatments = ARMS[arm]
    fields: dict[str, Any] = {_SELECT: select}
    for path, neutral in _NEUTRAL.items():
        strength = values[path] if values[path] != neutral else _STRENGTH[path]
        fields[path] = strength if path in treatments else neutral
    return fields


def _name(fields: Mapping[str, Any]) -> str:
    """The arm that the fields form; '' if it is none of them."""
    formed = fields[_SELECT], frozenset(_applied(fields))
    return next((name for name, arm in ARMS.items() if arm == formed), '')


def _applied(fields: Mapping[str, Any]) -> list[str]:
    """The treatments that are on."""
    return [path for path, neutral in _NEUTRAL.items() if fields.get(path, neutral) != neutral]


def _unselected(fields: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether a treatment is given that the pairs selected by the arm cannot have."""
    return bool(own.get(_REMOVE) or (fields[_SELECT] == 'none' and _applied(own)))


def _without_effect(fields: Mapping[str, Any], fixed: Collection[str]) -> list[str]:
    """The treatments that have no effect with the other fields, and that nobody gave."""
    applied = _applied(fields)
    if fields[_SELECT] == 'none':
        return [path for path in applied if path not in fixed] if _SELECT in fixed else []
    if not fields[_REMOVE] or applied == [_REMOVE]:
        return []
    others = [path for path in applied if path != _REMOVE]
    if set(others).isdisjoint(fixed):
        return others
    if _REMOVE not in fixed:
        return [_REMOVE]
    raise UserError(
        f'config.pairs.remove=True: a removed pair has no {_listed(fields, others)}; leave out one '
        'of them, or name one arm, such as --config.arm=removal'
    )


def _change(arm: str, fields: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Says what the fields given on the command line make of an arm."""
    select, treatments = ARMS[arm]
    both = fields[_SELECT] == select and treatments <= set(_applied(fields))
    name = _name(fields)
    return (
        f'config.arm={arm}, but {_listed(own, own)} {"is" if len(own) == 1 else "are"} given on '
        f'the command line: {"both are applied" if both else "that wins"} '
        f'({f"config.arm={name}" if name else "which is no named arm"})'
    )


def _listed(values: Mapping[str, Any], paths: Collection[str]) -> str:
    return ', '.join(f'config.{path}={values[path]!r}' for path in paths)
