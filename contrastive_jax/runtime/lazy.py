"""Names of a package that are imported when they are first asked for."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ['lazy_names']


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
      package: its `__name__`.
      homes: for each name the module that defines it.

    Returns:
      A function that imports what a name stands for and keeps it in the package, and a function
      that lists the names that are there already and those of `homes`.
    """
    own = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        own[name] = getattr(importlib.import_module(homes[name]), name)
        return own[name]

    return find, lambda: sorted({*own, *homes})
