"""What a task adds to the config: its fields, the models that it trains, and its cross-checks.

Nothing here, and nothing that a section consists of, imports JAX: a config is read by commands that
compute nothing.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from contrastive_jax.config.rules import Field

__all__ = ['SECTIONS', 'Section', 'section_of']


class Section(NamedTuple):
    """What the config knows of a task.

    Attributes:
      module: path of the module whose `make_task(config)` makes the task; imported by runs alone.
      chosen: whether a valid config names this task.
      fields: config fields that the task adds, by path.
      models: values of `model.name` that the task adds.
      check: called with every config whose fields are valid one by one; raises UserError where they
        contradict each other.
    """

    module: str
    chosen: Callable[[ConfigDict], bool]
    fields: Mapping[str, Field] = {}
    models: tuple[str, ...] = ()
    check: Callable[[ConfigDict], None] = lambda config: None


# Filled by `config.register`.
SECTIONS: list[Section] = []


def section_of(config: ConfigDict) -> Section:
    """The section of the task that a config names: the one registered last of those that match."""
    return next(section for section in reversed(SECTIONS) if section.chosen(config))
