"""What a run may be told: one table of fields, named arms, and what has to fit together."""

from contrastive_jax.config.table import (
    FIELDS,
    PATHS,
    WITHOUT_EFFECT,
    check_field,
    completed,
    default,
    differences,
    flatten,
    resolve,
    restored,
    validate,
)

__all__ = [
    'FIELDS',
    'PATHS',
    'WITHOUT_EFFECT',
    'check_field',
    'completed',
    'default',
    'differences',
    'flatten',
    'resolve',
    'restored',
    'validate',
]
