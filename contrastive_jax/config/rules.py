"""Rules for the values of config fields, in words and as tests."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = [
    'BOOL',
    'PART',
    'PATH',
    'POSITIVE',
    'SHARE',
    'TEXT',
    'Field',
    'Needs',
    'Rule',
    'integer',
    'number',
    'one_of',
    'one_of_or_empty',
]


class Rule(NamedTuple):
    """What a value must satisfy, in words and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


class Needs(NamedTuple):
    """A field that must have one of some values, or for no values must not be 0 or False."""

    path: str
    values: tuple[str, ...] = ()

    def met(self, config: Mapping[str, Any]) -> bool:
        """Whether it has, in a config by paths."""
        value = config[self.path]
        return value in self.values if self.values else bool(value)


class Field(NamedTuple):
    """One config field; `needs` says when it has an effect, where it does not always have one."""

    default: Any
    rule: Rule
    meaning: str
    needs: Needs | None = None


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def integer(least: int) -> Rule:
    """An integer from `least` up that fits into 32 bits."""
    return Rule(
        f'an integer of at least {least}, and below 2**31',
        lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v < 2**31,
    )


# Beyond these a number or its square is 0 or infinite in float32, and so would be the loss.
_LEAST, _MOST = 1e-18, 1e18


def number(least: int | float, most: int | float = _MOST) -> Rule:
    """A finite number from `least` to `most`."""
    words = f'a number in [{least}, {most}]' if most < _MOST else f'a number >= {least}'
    return Rule(words, lambda v: _is_number(v) and least <= v <= most)


POSITIVE = Rule(
    f'a number above 0, from {_LEAST} to {_MOST}', lambda v: _is_number(v) and _LEAST <= v <= _MOST
)
SHARE = number(0, 1)
PART = Rule('a number in [0, 1)', lambda v: _is_number(v) and 0 <= v < 1)
BOOL = Rule('True or False', lambda v: isinstance(v, bool))
TEXT = Rule('a text', lambda v: isinstance(v, str) and v != '' and v.isprintable())
PATH = Rule('a path, or None', lambda v: v is None or (isinstance(v, str) and _is_path(v)))


def _is_path(text: str) -> bool:
    # Python holds bytes of a path that are no UTF-8 as these surrogates.
    return TEXT.holds(re.sub('[\udc80-\udcff]', '?', text))


def one_of(*values: str) -> Rule:
    """One of the names."""
    return Rule(f'one of {", ".join(values)}', lambda v: isinstance(v, str) and v in values)


def one_of_or_empty(*values: str) -> Rule:
    """One of the names, or '' for none of them."""
    allowed = one_of(*values).allowed
    return Rule(f"{allowed}, or ''", lambda v: isinstance(v, str) and v in ('', *values))
