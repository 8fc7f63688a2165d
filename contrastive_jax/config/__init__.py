"""What a run may be told: one table of fields, named arms, and what has to fit together."""

# Registers the sections of the tasks, without which the table would not be whole.
import contrastive_jax.tasks  # noqa: F401
from contrastive_jax.config.rules import Field
from contrastive_jax.config.sections import Section, section_of
from contrastive_jax.config.table import FIELDS, WITHOUT_EFFECT, paths, register
from contrastive_jax.config.values import (
    check_field,
    check_value,
    check_values,
    completed,
    default,
    differences,
    flatten,
    one_spelling,
    resolve,
    restored,
    spelled_alike,
    validate,
)

__all__ = [
    'FIELDS',
    'WITHOUT_EFFECT',
    'Field',
    'Section',
    'check_field',
    'check_value',
    'check_values',
    'completed',
    'default',
    'differences',
    'flatten',
    'one_spelling',
    'paths',
    'register',
    'resolve',
    'restored',
    'section_of',
    'spelled_alike',
    'validate',
]
